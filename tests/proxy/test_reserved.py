"""/v1/* is OpenAI's: every path with every method, and everything that is nearly a path."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from h2o_relay.testing.scripts import json, sse

from .kit import KEY, MODEL, Relay, completion, listing, relay, request, said
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTH = {"Authorization": f"Bearer {KEY}"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
READ, SENT = "GET, HEAD", "POST"
SLASHES = "org/sub/model"
PATHS = {
    "/health": READ,
    "/readyz": READ,
    "/openapi.json": READ,
    "/v1/models": READ,
    f"/v1/models/{MODEL}": READ,
    f"/v1/models/{SLASHES}": READ,
    "/v1/models/org%2Fsub%2Fmodel": READ,
    "/v1/models/nobody": READ,
    "/v1/chat/completions": SENT,
    "/v1/completions": SENT,
    "/v1/embeddings": SENT,
    "/v1/responses": SENT,
    "/v1/responses/input_tokens": SENT,
    "/v1/responses/resp_1": "GET, HEAD, DELETE",
    "/v1/responses/resp_1/input_items": READ,
    "/v1/responses/resp_1/cancel": SENT,
    "/v1/messages": SENT,
    "/v1/messages/count_tokens": SENT,
    "/v1/rerank": SENT,
    "/v1/tokenize": SENT,
    "/v1/detokenize": SENT,
    "/v1/audio/speech": SENT,
    "/v1/audio/transcriptions": SENT,
    "/v1/images/generations": SENT,
}
"""Every path, and its methods as `allow` says them."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relaying() -> AsyncIterator[Relay]:
    """A relay with a key, whose server lists a model with slashes in its name, too."""
    models = listing(MODEL, SLASHES)
    async with relay(sse(said(3)), models=models, api_key=KEY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(relaying: Relay, nothing_left: None) -> AsyncIterator[Relay]:
    relaying.plays(json(completion()))
    yield relaying
    await relaying.hang_up()


def check_error(reply: Reply, status: int, code: str, path: str) -> None:
    """OpenAI's body with its four keys, or Anthropic's on Anthropic's paths, and nothing else."""
    assert reply.status == status, (reply.status, reply.body[:300])
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    body = orjson.loads(reply.body)
    if path.startswith("/v1/messages"):
        kind = "not_found_error" if status == 404 else "invalid_request_error"
        assert set(body) == {"type", "error", "request_id"}
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert set(body["error"]) == {"type", "message"}
        return
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"]) == ("invalid_request_error", code)
    assert body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (p, m)
        for p, m in itertools.product(PATHS, METHODS)
        if m not in (*PATHS[p].split(", "), "HEAD")
    ],
)
async def test_a_method_that_a_path_does_not_have(guarded: Relay, path: str, method: str) -> None:
    for target in (path, path + "?a=b"):
        reply = await guarded.ask(request(method, target, AUTH))
        assert reply.headers["allow"] == PATHS[path]
        assert "access-control-allow-origin" not in reply.headers
        check_error(reply, 405, "method_not_allowed", path)
        with_body = await guarded.ask(request(method, target, AUTH, b'{"model":"m"}'))
        check_error(with_body, 405, "method_not_allowed", path)
    assert not guarded.asked


@pytest.mark.parametrize("path", [path for path, allow in PATHS.items() if allow != SENT])
async def test_head_is_get_without_a_body(guarded: Relay, path: str) -> None:
    got = await guarded.ask(request("GET", path, AUTH))
    head = await guarded.ask(request("HEAD", path, AUTH))
    assert (head.status, head.body) == (got.status, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert got.status == (404 if path.endswith("nobody") or "resp_1" in path else 200)


@pytest.mark.parametrize("path", [path for path, allow in PATHS.items() if allow == SENT])
async def test_head_of_what_is_posted(guarded: Relay, path: str) -> None:
    reply = await guarded.ask(request("HEAD", path, AUTH))
    assert (reply.status, reply.headers["allow"], reply.body) == (405, SENT, b"")
    assert int(reply.headers["content-length"]) > 0


NEARLY = [
    "/", "//", "/v1", "/v1/", "/v1//", "/v2/models", "/v0", "/models", "/chat/completions",
    # A slash too many, or a dot.
    "/v1/models/", "/v1//models", "//v1/models", "/v1/chat//completions",
    "/v1/chat/completions/", "/v1/completions/", "/v1/embeddings/", "/v1/messages/",
    "/v1/messages/count_tokens/", "/v1/./models", "/v1/../v1/models", "/v1/chat/./completions",
    "/v1/chat/../completions", "/health/", "//health", "/readyz/", "/openapi.json/",
    # Letters of another kind.
    "/V1/models", "/v1/MODELS", "/V1/CHAT/COMPLETIONS", "/Health", "/READYZ", "/OpenAPI.json",
    # Percent signs: a path is compared as it was sent.
    "/v1/%6dodels", "/%76%31/models", "/v1%2Fmodels", "/v1/models%2F", "/v1/models%2Fm",
    "/v1/models%20", "/v1/models%00", "/v1/models%0d%0aX:y", "/v1/chat%2Fcompletions",
    "/v1/chat/completions%3F", "/v1/%2e%2e/health", "/%68ealth", "/v1/completions%",
    "/v1/completions%zz",
    # Below a response there is little.
    "/v1/responses/", "/v1/responses//", "/v1/responses/resp_1/", "/v1/responses/resp_1//cancel",
    "/v1/responses/resp_1/input_items/", "/v1/responses/resp_1/nope", "/v1/Responses/resp_1",
    # What others have.
    "/v1/models;a=b", "/v1/models:m", "/v1/engines", "/v1/chat", "/v1/internal/model/list",
    "/v1/internal/model/info", "/version", "/docs", "/redoc", "/metrics", "/favicon.ico", "/.env",
    "/api/tags", "/generate", "/info", "/admin", "/admin/", "/invocations", "/ping",
]  # fmt: skip
"""No path of ours, for reading."""


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_what_is_nearly_a_path_is_unknown(guarded: Relay, method: str) -> None:
    for path in NEARLY:
        for target in (path, path + "?v1/models"):
            reply = await guarded.ask(request(method, target, AUTH))
            check_error(reply, 404, "unknown_url", path)
            assert "allow" not in reply.headers
            error = orjson.loads(reply.body)["error"]
            assert error["message"].startswith(f"Unknown request URL: {method} /"), path
            assert error.get("param") is None
    assert not guarded.asked


async def test_what_is_nearly_a_path_reaches_no_server(guarded: Relay) -> None:
    """A server may have paths that are not known here: what is posted to a plain one goes there.
    None of these is plain, but a few that other servers have.
    """
    plain = {"/v1/MODELS", "/v1/engines", "/v1/chat", "/v1/internal/model/list",
             "/v1/internal/model/info", "/v1/Responses/resp_1"}  # fmt: skip
    for path in NEARLY:
        if path not in plain:
            reply = await guarded.ask(request("POST", path, AUTH, b'{"model":"m"}'))
            check_error(reply, 404, "unknown_url", path)
    assert not guarded.asked


async def test_a_path_that_the_server_does_not_have_either(guarded: Relay) -> None:
    guarded.plays(json({"detail": "Not Found"}, 404))
    for path in ("/v1/nope", "/v1/chat", "/v1/internal/model/list"):
        reply = await guarded.ask(request("POST", path, AUTH, b'{"model":"m"}'))
        check_error(reply, 404, "unknown_url", path)


BELOW = [
    "/", "//m", "m/", "m//", "/m", "./m", "../m", "m/..", "..", ".", "%2e%2e", "M", "m%00", "m%20",
    "m%0d%0aSet-Cookie:%20a=b", "%ff", "%ED%A0%80", "%", "%zz", "org/sub", "org/sub/model/",
    "org//sub/model", "org%252Fsub%252Fmodel", "m;a", "m:latest", "nobody", "x" * 4000,
    "%3Cscript%3E", "*",
]  # fmt: skip
"""Behind /v1/models/, where all is a name: none of a model."""


@pytest.mark.parametrize("name", BELOW)
async def test_below_the_models_everything_is_a_name(guarded: Relay, name: str) -> None:
    for target in (f"/v1/models/{name}", f"/v1/models/{name}?a=/m"):
        reply = await guarded.ask(request("GET", target, AUTH))
        check_error(reply, 404, "model_not_found", "/v1/models/")
        error = orjson.loads(reply.body)["error"]
        assert error["param"] == "model"
        assert len(error["message"]) < 400
        assert not set(error["message"]) & set("<>\r\n\0")
    assert not guarded.asked


@pytest.mark.parametrize(
    "name",
    [MODEL, "%6d", "%6D", SLASHES, "org%2Fsub%2fmodel", "org/sub%2Fmodel", "%6frg/sub/model"],
)
async def test_a_name_is_found_however_it_is_written(guarded: Relay, name: str) -> None:
    reply = await guarded.ask(request("GET", f"/v1/models/{name}", AUTH))
    assert reply.json()["id"] == (MODEL if len(name) < 4 else SLASHES)


@pytest.mark.parametrize("path", ["*", "http://[", "/v1/mod els", "/v1/\x7f", "/v1/\xe9"])
async def test_what_is_no_path_at_all(guarded: Relay, path: str) -> None:
    reply = await guarded.ask(request("GET", path, AUTH))
    assert reply.status in (400, 404)
    assert set(orjson.loads(reply.body)["error"]) == {"message", "type", "param", "code"}
    assert not guarded.asked


async def test_whoever_has_no_key_is_told_nothing_of_paths(guarded: Relay) -> None:
    for path in ("/v1/models", "/v1/nope", "/nope", "/v1/chat/completions/", "/v1/models/nobody"):
        for method in ("GET", "PUT", "OPTIONS"):
            check_error_code(await guarded.ask(request(method, path)), 401, "missing_api_key")


def check_error_code(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (status, code)
    assert "allow" not in reply.headers
