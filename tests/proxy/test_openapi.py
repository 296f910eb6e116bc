"""Our OpenAPI document says what is so: of paths, of fields and their ranges, of errors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2o_relay.errors import InvalidRequest, error_tree
from h2o_relay_proxy import checks, path_checks
from h2o_relay_proxy.admin import Admin
from h2o_relay_proxy.app import App
from h2o_relay_proxy.checking import INT64, MAX_INT, Check, schema_of
from h2o_relay_proxy.dialects.messages import request as messages
from h2o_relay_proxy.dialects.responses import fields as responses
from h2o_relay_proxy.openapi import document, encoded
from h2o_relay_proxy.routes import KNOWN

from .kit import KEY, assert_error, get, relay, request

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = document()
ADMIN_KEY = "admin-canary"


def inside(data: Any) -> Iterator[Any]:
    """A document and everything in it."""
    yield data
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from inside(item)


def test_it_is_valid() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_what_it_refers_to_is_there() -> None:
    for part in inside(DOCUMENT):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            found: Any = DOCUMENT
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]


def test_nothing_in_it_is_left_over() -> None:
    """Every component but those that only a person reads is referred to."""
    used = {part["$ref"] for part in inside(DOCUMENT) if isinstance(part, dict) and "$ref" in part}
    for kind in ("schemas", "responses", "headers"):
        names = {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]}
        left = {name for name in names - used if not re.search(r"Error\w{3}$", name)}
        assert left <= {"#/components/schemas/StreamEvent"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


async def test_every_path_of_the_relay_is_in_it() -> None:
    async with relay(admin_pass=ADMIN_KEY) as running:
        app = running.server.config.loaded_app
    assert isinstance(app, App)
    admin = app._admin
    assert isinstance(admin, Admin)
    there = {("GET", path.decode()) for path in app._gets} - {("GET", "/openapi.json")}
    there |= {("POST", path.decode()) for path in app._posts}
    there |= {("POST", f"/v1{path}") for path in KNOWN}
    there |= {(method, path.decode()) for path, methods in admin._routes.items()
              for method in methods}  # fmt: skip
    there |= {(method, "/admin/deployments/{id}") for method in admin._one}
    there |= {("GET", "/metrics"), ("GET", "/admin/keys"), ("POST", "/admin/keys")}
    described = {(method, path) for method, path, _ in operations()}
    assert there - described == set()
    assert {path for _, path in described - there if "{" not in path} == set()


async def test_it_is_served_behind_the_key() -> None:
    async with relay() as running:
        reply = await running.ask(get("/openapi.json"))
        assert reply.body == encoded()
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == DOCUMENT
        assert (await running.ask(request("HEAD", "/openapi.json"))).status == 200
        assert_error(await running.ask(request("POST", "/openapi.json")), 405, "method_not_allowed")
    async with relay(api_key=KEY) as running:
        assert_error(await running.ask(get("/openapi.json")), 401, "missing_api_key")
        allowed = get("/openapi.json", Authorization=f"Bearer {KEY}")
        assert (await running.ask(allowed)).status == 200


def test_the_copy_in_the_docs_is_up_to_date() -> None:
    """`python docs/generate.py` writes it."""
    kept = orjson.loads((DOCS / "openapi.json").read_bytes())
    assert kept == DOCUMENT


def test_every_error_has_its_status() -> None:
    found = DOCUMENT["components"]["responses"]
    for kind in error_tree():
        if kind.__module__ == "h2o_relay.errors" and kind.code is not None:
            assert f"`{kind.code}`: " in found[f"Error{kind.status}"]["description"]
    for method, path, operation in operations():
        answers = operation["responses"]
        assert {"400", "500", "503"} <= answers.keys(), (method, path)
        assert ("401" in answers) == (operation["security"] != [])
        assert ("415" in answers) == ("requestBody" in operation)
        shape = "AnthropicError" if path.startswith("/v1/messages") else "Error"
        shape = "EitherError" if path.startswith("/v1/models") else shape
        assert answers["400"]["$ref"] == f"#/components/responses/{shape}400"


TABLES: Mapping[str, Mapping[str, Check]] = {
    "chat": checks.CHAT, "text": checks.TEXT, "embeddings": checks.EMBEDDINGS,
    "messages": messages.CHECKS, "responses": responses.FIELDS,
    **{path: table for path, (table, _) in path_checks.PATHS.items()},
}  # fmt: skip
FURTHER = {"responses.input"}
"""What has items that are checked where they are read."""
EVERY = {f"{table}.{name}": check for table, found in TABLES.items()
         for name, check in found.items() if f"{table}.{name}" not in FURTHER}  # fmt: skip


def test_ranges_are_those_of_the_checks() -> None:
    """A few, by hand: the rest is tried below."""
    schemas = DOCUMENT["components"]["schemas"]
    chat = schemas["ChatRequest"]["properties"]
    assert (chat["n"]["minimum"], chat["n"]["maximum"]) == (1, checks.MAX_CHOICES)
    assert (chat["max_tokens"]["minimum"], chat["max_tokens"]["maximum"]) == (1, MAX_INT)
    assert schemas["CompletionRequest"]["properties"]["max_tokens"]["minimum"] == 0
    assert chat["temperature"]["maximum"] == 2
    assert schemas["MessagesRequest"]["properties"]["temperature"]["maximum"] == 1
    assert chat["messages"]["minItems"] == 1
    assert schemas["ChatRequest"]["required"] == ["messages"]


WORDS = ["", "a", "user", "text", "auto", "type", "role", "content", "image_url", "https://x/",
         "FILE:///x", "DATA:,x", "24h", "x" * 65, "x" * 513, "x" * 4097, "-1", "٣"]  # fmt: skip
NUMBERS = [n + d for n in (0, 0.25, 1, 2, 4, 8, 10, 20, 1000, 1024, MAX_INT, *INT64)
           for d in (-1, 0, 1)] + [0.5, -0.5, 1e300]  # fmt: skip
VALUES = st.recursive(
    st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(WORDS[:8], inner)) | st.dictionaries(
        st.sampled_from(WORDS), inner, max_size=20)
    | st.fixed_dictionaries({"role": inner, "content": inner})
    | st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]), "text": inner})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": inner})
    | st.fixed_dictionaries({"url": inner}),
    max_leaves=12,
)  # fmt: skip


def is_plain(value: Any) -> bool:
    """Whether numbers are what a reader of JSON makes of them, and whole ones no floats: a schema
    takes 3.0 for a whole number, and the relay does not.
    """
    return not any(
        (isinstance(part, float) and (part.is_integer() or not math.isfinite(part)))
        or (type(part) is int and not INT64[0] <= part <= INT64[1])
        for part in inside(value)
    )


def passes(check: Check, value: Any) -> bool:
    try:
        check("field", value)
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=30, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(value=VALUES.filter(is_plain))
def test_a_checks_schema_says_what_it_does(name: str, value: Any) -> None:
    check = EVERY[name]
    validator = jsonschema.Draft202012Validator(schema_of(check))
    assert passes(check, value) == validator.is_valid(value)
