"""The rows of the security checklist that are about keys, each under its number."""

from __future__ import annotations

import ast
import hashlib
import re
import secrets
import stat
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import h2o_relay
import h2o_relay_proxy
from h2o_relay import settings as table
from h2o_relay.accounting import secret
from h2o_relay.accounting.keys import Snapshot
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.errors import StoreError, Unauthorized
from h2o_relay.settings import Settings
from h2o_relay.testing.settings import quick

from .keys_kit import MASTER, Guarded, guarded

pytestmark = pytest.mark.asyncio(loop_scope="module")
PACKAGES = [Path(str(package.__file__)).parent for package in (h2o_relay, h2o_relay_proxy)]
ASKED = ("/v1/models", "/v1/chat/completions", "/nope")


async def created(relay: Guarded, **body: Any) -> tuple[str, str]:
    """Id and key."""
    status, key = await relay.ask("POST", "/admin/keys", body={"name": "ci", **body})
    assert status == 201
    return key["id"], key["key"]


async def test_s03_there_is_no_key_that_nobody_has_set(tmp_path: Path) -> None:
    assert [getattr(Settings(), name) for name in ("api_key", "h2ogpt_api_keys", "admin_pass")] == [
        None, None, None,
    ]  # fmt: skip
    guesses = ("EMPTY", "empty", "None", "null", "sk-h2o-", "admin", "internal", "page", "open",
               "env", "key_", "h2ogpt", "password", "ADMIN_PASS", "x" * 43)  # fmt: skip
    async with guarded(tmp_path, admin_pass=None) as relay:
        await relay.keys.create({"name": "ci"})
        await relay.ring.refresh()
        for guess in guesses:
            for path in (*ASKED, "/admin/keys"):
                assert (await relay.ask("GET", path, guess))[0] == 401, guess


async def test_s03_empty_is_a_word_like_any_other(tmp_path: Path) -> None:
    async with guarded(tmp_path, api_key="EMPTY") as relay:
        assert (await relay.ask("GET", "/v1/models", "EMPTY"))[0] == 200
        assert (await relay.ask("GET", "/v1/models", "x"))[0] == 401
        assert (await relay.ask("GET", "/v1/models", None))[0] == 401


async def test_s04_keys_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [secret.new_key() for _ in range(500)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"sk-h2o-[A-Za-z0-9]{43}", key) for key in made)
    letters = Counter("".join(key.removeprefix(secret.PREFIX) for key in made))
    assert len(letters) == 62, "43 of 62 letters are 256 bits"
    assert max(letters.values()) < 2 * min(letters.values())
    asked: list[int] = []

    def choice(letters: str) -> str:
        asked.append(len(letters))
        return letters[0]

    monkeypatch.setattr(secrets, "choice", choice)
    secret.new_key()
    assert asked == [62] * 43, "each letter is from the system's own source"


def kept(folder: Path) -> tuple[list[bytes], set[int]]:
    """What the files of a folder hold, and their permissions."""
    paths = list(folder.iterdir())
    return [path.read_bytes() for path in paths], {stat.S_IMODE(p.stat().st_mode) for p in paths}


async def test_s04_keys_are_kept_as_salted_hashes_and_shown_once(tmp_path: Path) -> None:
    async with guarded(tmp_path) as relay:
        id, key = await created(relay)
        assert (await relay.ask("GET", "/v1/models", key))[0] == 200
        said = [
            await relay.ask(method, f"/admin/keys{path}", body=body)
            for method, path, body in (
                ("GET", "", None), ("GET", f"/{id}", None), ("PATCH", "/ci", {"budget": 1}),
                ("POST", "", {"name": "ci"}), ("DELETE", "/ci", None), ("GET", "", None),
            )
        ]  # fmt: skip
        files, modes = kept(tmp_path)
        other = await relay.keys.snapshot(None)
    assert key not in repr(said)
    assert key[-8:] not in repr(said)
    plain = hashlib.sha256(key.encode()).digest()
    assert other is not None
    salted = secret.digest(other.secret, key.encode()).hex()
    assert any(salted.encode() in content for content in files)
    for content in files:
        for leak in (key.encode(), key[-8:].encode(), plain, plain.hex().encode()):
            assert leak not in content
    assert modes == {0o600}


NAMED = re.compile(
    r"(^|_)(key|keys|secret|digest|candidate|credential|password|presented|made|known)(s|_|$)"
)


def compared(source: str) -> Iterator[tuple[int, str]]:
    """Lines on which something that is called like a key is compared with == or !=."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        for side in sides:
            name = side.id if isinstance(side, ast.Name) else getattr(side, "attr", "")
            if NAMED.search(name):
                yield node.lineno, name


async def test_s05_no_key_is_compared_with_an_operator() -> None:
    """In the modules that see what callers present."""
    core, proxy = PACKAGES
    ours = [core / "accounting" / name for name in ("ring.py", "credentials.py", "secret.py")]
    names = ("auth.py", "admin.py", "admin_keys.py", "app.py")
    theirs = [path for path in map(proxy.joinpath, names) if path.is_file()]
    files = [core / "api_keys.py", *ours, core / "store" / "keys.py", *theirs]
    assert len(theirs) > 2
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert {name: found for name in texts if (found := list(compared(texts[name])))} == {}
    assert list(compared("good = api_key == given or x.digest != made")) == [
        (1, "api_key"), (1, "digest"), (1, "made"),
    ]  # fmt: skip


async def test_s05_all_that_is_presented_is_looked_at_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No place is left out because an earlier one has said yes or no."""
    import hmac

    compared: list[bool] = []
    real = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        compared.append(True)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    counts = set()
    async with guarded(tmp_path, api_key="own", h2ogpt_api_keys="['a', 'b', 'c']") as relay:
        _, good = await created(relay)
        for key in ("own", "a", "c", good, "wrong", good[:-1], "internal-canary-0123456789"):
            compared.clear()
            headers = [(b"authorization", f"Bearer {key}".encode()), (b"x-api-key", b"wrong")]
            with pytest.raises(Unauthorized):
                relay.ring.find(headers)
            counts.add(len(compared))
    assert counts == {6}, "three places for each of the two"


async def test_s05_a_wrong_key_takes_as_long_as_an_almost_right_one() -> None:
    key = "sk-" + "a" * 2000
    ring = KeyRing(quick(api_key=key))
    tries = {"early": b"Bearer x" + key[1:].encode(), "late": f"Bearer {key[:-1]}x".encode()}
    times: dict[str, list[float]] = {name: [] for name in tries}
    for _ in range(300):
        for name, value in tries.items():
            start = time.perf_counter()
            with pytest.raises(Unauthorized):
                ring.find([(b"authorization", value)])
            times[name].append(time.perf_counter() - start)
    early, late = (statistics.median(times[name]) for name in ("early", "late"))
    assert 1 / 3 < early / late < 3


WAYS = ("Bearer in authorization", "x-api-key", "api-key")


def by(way: str, key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if way == WAYS[0] else {way: key}


async def test_s08_every_header_leads_to_the_same_caller(tmp_path: Path) -> None:
    async with guarded(tmp_path) as relay:
        id, key = await created(relay, concurrent=2)
        callers = [
            relay.ring.find([(n.encode(), v.encode()) for n, v in by(way, key).items()])
            for way in WAYS
        ]
        assert {caller.id for caller in callers} == {id}
        assert {caller.allowance.concurrent for caller in callers} == {2}
        for way in WAYS:
            assert await relay.send("GET", "/v1/x", by(way, key)) == (200, {"id": id})
            assert (await relay.send("GET", "/v1/x", by(way, "wrong")))[0] == 401
            assert (await relay.send("GET", "/admin/keys", by(way, MASTER)))[0] == 200
            assert (await relay.send("GET", "/admin/keys", by(way, key)))[0] == 401
            for other in WAYS:
                if other != way:
                    mixed = {**by(way, key), **by(other, "wrong")}
                    assert (await relay.send("GET", "/v1/x", mixed))[0] == 401
        for path in (f"/v1/x?api_key={key}", f"/v1/x?key={key}"):
            assert (await relay.send("GET", path, {"cookie": f"api_key={key}"}))[0] == 401


async def test_s08_headers_with_keys_are_read_in_one_place() -> None:
    found = {
        path.name
        for package in PACKAGES
        for path in package.rglob("*.py")
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (b"x-api-key", b"api-key")
    }
    assert found == {"credentials.py"}


NASTY = [
    "' OR 1=1 --", "' OR '1'='1", '" OR ""="', "'; DROP TABLE keys; --", "' UNION SELECT 1,2,3 --",
    "%", "_", "*", "ci' --", "1) OR (1=1", "\\'; --", "${jndi:x}", "{{7*7}}", "key_%", "\\x00",
    "' AND (SELECT count(*) FROM keys) > 0 --", "0x27", "%27%20OR%201=1", "NULL", "true",
]  # fmt: skip


async def test_s09_no_text_of_a_caller_becomes_part_of_a_statement(tmp_path: Path) -> None:
    from urllib.parse import quote

    async with guarded(tmp_path) as relay:
        id, key = await created(relay)
        for text in NASTY:
            assert (await relay.ask("GET", "/v1/models", text))[0] == 401, text
            for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
                path = f"/admin/keys/{quote(text, safe='')}{tail}"
                assert (await relay.ask(method, path))[0] == 404, text
            assert (await relay.ask("GET", "/admin/keys", text))[0] == 401, text
        assert (await relay.ask("GET", "/v1/models", key)) == (200, {"id": id})
        for number, text in enumerate(NASTY):
            status, made = await relay.ask("POST", "/admin/keys", body={"name": text})
            if not text.startswith(secret.ID):
                assert (status, made["name"]) == (201, text), number
        assert len(await relay.keys.all()) == len(NASTY), "one of them looks like an id"


async def test_s09_lookups_ask_the_database_nothing(tmp_path: Path) -> None:
    async with guarded(tmp_path) as relay:
        id, key = await created(relay)

    class Closed:
        async def snapshot(self, seen: int | None) -> Snapshot | None:
            raise AssertionError("asked")

    ring = relay.ring
    ring._source = Closed()  # type: ignore[assignment]
    assert ring.find([(b"x-api-key", key.encode())]).id == id
    with pytest.raises(Unauthorized):
        ring.find([(b"x-api-key", b"' OR 1=1 --")])


class Away:
    """A store that is not there."""

    def __init__(self) -> None:
        self.then: Any = None

    async def snapshot(self, seen: int | None) -> Snapshot | None:
        if self.then is None:
            raise StoreError("the disk is gone")
        found: Snapshot | None = await self.then.snapshot(seen)
        return found

    async def note_used(self, times: Mapping[str, float]) -> None:
        raise StoreError("the disk is gone")


@pytest.mark.parametrize("changes", [{}, {"api_key": "own"}, {"auth_access": "closed"}])
async def test_s10_without_the_store_nobody_passes_whom_it_would_decide(
    tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    away = Away()
    async with guarded(tmp_path, away, **changes) as relay:
        info, key = await relay.keys.create({"name": "ci", "admin": True})
        for path in (*ASKED, "/admin/keys"):
            for presented in (key, "EMPTY", "x"):
                status, said = await relay.ask("GET", path, presented)
                assert (status, said["error"]["code"]) == (503, "auth_unavailable")
                assert said["error"]["type"] == "overloaded_error"
            assert (await relay.ask("GET", path, None))[0] in (401, 503)
        assert (await relay.ask("GET", "/admin/keys", MASTER))[0] == 200, "it is in no store"
        if "api_key" in changes:
            assert (await relay.ask("GET", "/v1/x", "own"))[1] == {"id": "env"}
        assert relay.ring.trouble == "the disk is gone"
        away.then = relay.keys
        await relay.ring.refresh()
        assert (await relay.ask("GET", "/v1/x", key))[1] == {"id": info.id}, "it heals by itself"
        away.then = None
        await relay.ring.refresh()
        assert (await relay.ask("GET", "/v1/x", key))[1] == {"id": info.id}
        assert (await relay.ask("GET", "/v1/x", "x"))[0] == 401
    told = [record for record in caplog.records if "cannot be read" in record.getMessage()]
    assert len(told) == 2, "once for each time that it went"
    assert key not in caplog.text


async def test_s10_keys_of_the_store_are_asked_for_as_soon_as_there_is_one(tmp_path: Path) -> None:
    async with guarded(tmp_path) as relay:
        assert (await relay.ask("GET", "/v1/models", None))[0] == 200
        await created(relay)
        for key in (None, "", "EMPTY"):
            assert (await relay.ask("GET", "/v1/models", key))[0] == 401
        await relay.ask("DELETE", "/admin/keys/ci")
        assert (await relay.ask("GET", "/v1/models", None))[0] == 401, "nor do they open it again"


async def test_the_settings_with_keys_are_in_no_repr() -> None:
    for name in ("api_key", "h2ogpt_api_keys", "admin_pass"):
        assert not table.about(name).repr


async def test_the_proof_that_a_connection_keeps_has_no_key_in_its_repr(tmp_path: Path) -> None:
    async with guarded(tmp_path) as relay:
        info, key = await relay.keys.create({"name": "ci"})
        await relay.ring.refresh()
        proof = relay.ring.find_again([(b"x-api-key", key.encode())], None)
    assert repr(proof) == f"Proof({info.id!r})"
