"""`/admin/keys`: keys made, shown, changed, rotated and revoked over HTTP, in force at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from .keys_kit import INTERNAL, MASTER, Guarded, guarded

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def relay(tmp_path: Path, nothing_left: None) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as running:
        yield running


async def made(relay: Guarded, **body: Any) -> dict[str, Any]:
    status, key = await relay.ask("POST", "/admin/keys", body={"name": "ci", **body})
    assert status == 201, key
    found: dict[str, Any] = key
    return found


async def test_a_key_from_its_making_to_its_end(relay: Guarded) -> None:
    assert await relay.ask("GET", "/v1/models", None) == (200, {"id": "open"})
    key = await made(relay, concurrent=3, models=["a*"], budget=5, budget_period="day")
    assert (key["object"], key["name"], key["state"], key["admin"]) == ("key", "ci", "good", False)
    assert (key["concurrent"], key["models"], key["budget"]) == (3, ["a*"], 5.0)
    assert key["last4"] == key["key"][-4:]
    assert await relay.ask("GET", "/v1/models", key["key"]) == (200, {"id": key["id"]})
    assert (await relay.ask("GET", "/v1/models", None))[0] == 401, "from now on a key is needed"

    status, listed = await relay.ask("GET", "/admin/keys")
    told = {name: value for name, value in key.items() if name not in ("key", "used")}
    assert status == 200
    assert [{n: v for n, v in one.items() if n != "used"} for one in listed["data"]] == [told]
    assert time.time() - 60 < listed["data"][0]["used"] <= time.time(), "noted before it is told"
    assert (await relay.ask("GET", f"/admin/keys/{key['id']}"))[1] == listed["data"][0]

    status, changed = await relay.ask("PATCH", "/admin/keys/ci", body={"concurrent": None})
    assert (status, changed["concurrent"], changed["models"]) == (200, None, ["a*"])
    assert "key" not in changed

    status, gone = await relay.ask("DELETE", f"/admin/keys/{key['id']}")
    assert (status, gone["state"]) == (200, "revoked")
    assert (await relay.ask("GET", "/v1/models", key["key"]))[0] == 401
    assert (await relay.ask("DELETE", f"/admin/keys/{key['id']}"))[1] == gone


async def test_rotating(relay: Guarded) -> None:
    first = await made(relay)
    status, second = await relay.ask("POST", "/admin/keys/ci/rotate", body={"grace": "1h"})
    assert (status, second["id"]) == (200, first["id"])
    assert 3500 < second["old_until"] - time.time() <= 3600
    for key in (first, second):
        assert (await relay.ask("GET", "/v1/models", key["key"]))[1] == {"id": first["id"]}
    status, third = await relay.ask("POST", f"/admin/keys/{first['id']}/rotate")
    assert third["old_until"] is None
    statuses = [(await relay.ask("GET", "/v1/x", k["key"]))[0] for k in (first, second, third)]
    assert statuses == [401, 401, 200]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"grace": "soon"}, "grace", "invalid_value"),
        ({"grace": -1}, "grace", "invalid_value"),
        ({"grace": [1]}, "grace", "invalid_type"),
        ({"grace": True}, "grace", "invalid_type"),
        ({"expires": "1d"}, "expires", "unknown_parameter"),
    ],
)
async def test_rotations_that_cannot_be(relay: Guarded, body: Any, param: str, code: str) -> None:
    key = await made(relay)
    status, said = await relay.ask("POST", "/admin/keys/ci/rotate", body=body)
    assert (status, said["error"]["param"], said["error"]["code"]) == (400, param, code)
    assert (await relay.ask("GET", "/v1/x", key["key"]))[0] == 200


async def test_names_with_anything_in_them(relay: Guarded) -> None:
    key = await made(relay, name="team a/b ü?")
    path = "/admin/keys/team%20a%2Fb%20%C3%BC%3F"
    assert (await relay.ask("GET", path))[1]["id"] == key["id"]
    assert (await relay.ask("POST", f"{path}/rotate"))[0] == 200
    await made(relay, name="rotate")
    assert (await relay.ask("GET", "/admin/keys/rotate"))[1]["name"] == "rotate"
    assert (await relay.ask("POST", "/admin/keys/rotate/rotate"))[0] == 200


async def test_what_is_refused(relay: Guarded) -> None:
    await made(relay)
    for method, path, body, status, code in (
        ("POST", "/admin/keys", {"name": "ci"}, 400, "name_taken"),
        ("POST", "/admin/keys", {}, 400, "missing_required_parameter"),
        ("POST", "/admin/keys", {"name": "x", "key": "sk-mine"}, 400, "unknown_parameter"),
        ("POST", "/admin/keys", {"name": "x", "concurrent": 0}, 400, "invalid_value"),
        ("POST", "/admin/keys", [], 400, "invalid_json"),
        ("POST", "/admin/keys", None, 415, "unsupported_media_type"),
        ("PATCH", "/admin/keys/ci", {"id": "key_x"}, 400, "unknown_parameter"),
        ("PATCH", "/admin/keys/other", {}, 404, "not_found"),
        ("DELETE", "/admin/keys/other", None, 404, "not_found"),
        ("GET", "/admin/keys/", None, 404, "unknown_url"),
        ("GET", "/admin/keys/a/b", None, 404, "unknown_url"),
        ("POST", "/admin/keys//rotate", None, 404, "unknown_url"),
        ("PUT", "/admin/keys", {}, 405, "method_not_allowed"),
        ("GET", "/admin/keys/ci/rotate", None, 405, "method_not_allowed"),
    ):
        found, said = await relay.ask(method, path, body=body)
        assert (found, said["error"]["code"]) == (status, code), (method, path)
    assert len((await relay.ask("GET", "/admin/keys"))[1]["data"]) == 1


async def test_who_may(relay: Guarded) -> None:
    plain = (await made(relay))["key"]
    root = (await made(relay, name="root", admin=True))["key"]
    for key, status in ((MASTER, 200), (INTERNAL, 200), (root, 200), (plain, 401), ("x", 401),
                        (None, 401)):  # fmt: skip
        for method, path in (("GET", "/admin/keys"), ("POST", "/admin/keys/ci/rotate")):
            assert (await relay.ask(method, path, key))[0] == status, (method, key)
    await relay.ask("PATCH", "/admin/keys/root", body={"admin": False})
    assert (await relay.ask("GET", "/admin/keys", root))[0] == 401


async def test_a_revoked_key_is_told_before_the_answer(relay: Guarded) -> None:
    gone: list[str] = []
    relay.ring.on_revoked(gone.append)
    key = await made(relay)
    await relay.ask("DELETE", "/admin/keys/ci")
    assert gone == [key["id"]]
