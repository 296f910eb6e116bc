"""h2oGPT's rules for the API: which model answers, and what becomes of its clients' fields."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio

from h2o_relay.hookspecs import hookimpl
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Capabilities, Server, Tuning

from .kit import (
    MESSAGES,
    Relay,
    assert_error,
    completion,
    get,
    post,
    relay,
    said,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = "vllm_chat:127.0.0.1:9/v1"
"""Nothing listens on the port of "discard"."""
DOCS = Path(__file__).parents[2] / "docs" / "from-h2ogpt.md"


def entry(base: str, shown: str | None = None, **more: Any) -> ServerSpec:
    return ServerSpec(
        **{"server": "vllm_chat:{url}/v1", **more}, base_model=base, display_name=shown
    )


# Which model answers.

LOCK = [
    entry("org/llama", "fast"),
    entry("org/llama", "good"),
    entry("mistral"),
    entry("1", "called-like-a-number"),
    entry("other", "2"),
    entry("mistral"),
]
CHOICES: list[tuple[Any, str]] = [
    (None, "fast"),
    ("fast", "fast"),
    ("good", "good"),
    ("org/llama", "fast"),  # the first of its two
    ("mistral", "mistral"),
    ("mistral_1", "mistral_1"),  # a second one of the same name, as in h2oGPT
    ("other", "2"),
    ("2", "2"),  # a display name goes before a place
    (2, "mistral"),
    ("1", "called-like-a-number"),  # and so does a base model
    (1, "good"),
    (0, "fast"),
    ("0", "fast"),
    ("5", "mistral_1"),
    (5, "mistral_1"),
]
WRONG: list[Any] = [
    "6",
    6,
    -1,
    "-1",
    "01",
    "+1",
    "1.0",
    " 0",
    "\u0660",
    "Fast",
    "llama",
    "",
    10**6,
    "9" * 50,
]


async def either(request: Received, answer: Answer) -> None:
    """An answer, streamed if that is asked for."""
    script = sse(said(3)) if request.json().get("stream") else json(completion())
    await script(request, answer)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lock() -> AsyncIterator[Relay]:
    async with relay(either, servers=LOCK) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def locked(shared_lock: Relay, nothing_left: None) -> AsyncIterator[Relay]:
    """A relay with this lock, whose server was not asked yet."""
    shared_lock.plays(either)
    yield shared_lock
    await shared_lock.hang_up()


@pytest_asyncio.fixture(loop_scope="module")
async def client(locked: Relay) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own."""
    async with openai.AsyncOpenAI(
        base_url=f"{locked.url}/v1", api_key="EMPTY", max_retries=0, timeout=30
    ) as made:
        yield made


async def answered_by(client: openai.AsyncOpenAI, model: Any) -> str:
    """The name of the deployment that answers; a model that is no text goes as it is."""
    texts = isinstance(model, str)
    answer = await client.chat.completions.with_raw_response.create(
        model=model if texts else openai.omit,  # type: ignore[arg-type]
        messages=MESSAGES,  # type: ignore[arg-type]
        extra_body={} if texts or model is None else {"model": model},
    )
    assert answer.parse().choices[0].message.content == "hello"
    return str(answer.headers["x-h2o-server"])


@pytest.mark.parametrize(("model", "name"), CHOICES)
async def test_the_model_that_is_meant(
    locked: Relay, client: openai.AsyncOpenAI, model: Any, name: str
) -> None:
    assert await answered_by(client, model) == name
    (received,) = locked.asked
    assert received.json()["model"] == "m"  # the only one that the server lists
    if model is not None:
        found = await locked.ask(get(f"/v1/models/{model}"))
        # In a path there are no numbers, only texts.
        assert found.json()["id"] == dict(CHOICES)[str(model)]


@pytest.mark.parametrize("model", WRONG)
async def test_a_model_that_is_not_there(
    locked: Relay, client: openai.AsyncOpenAI, model: Any
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await answered_by(client, model)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.type == "invalid_request_error"
    assert not locked.asked


@pytest.mark.parametrize("model", [True, 1.0, ["fast"], {"id": "fast"}])
async def test_a_model_that_is_no_name(
    locked: Relay, client: openai.AsyncOpenAI, model: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await answered_by(client, model)
    assert (caught.value.code, caught.value.param) == ("invalid_type", "model")
    assert not locked.asked


async def test_the_names_that_are_listed(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["fast", "good", "mistral", "called-like-a-number", "2", "mistral_1"]
    assert (await client.models.retrieve("org/llama")).id == "fast"


async def test_other_paths_find_models_in_the_same_way(locked: Relay) -> None:
    for model, name in (("org/llama", "fast"), (2, "mistral"), ("5", "mistral_1")):
        locked.upstream.requests.clear()
        reply = await locked.ask(post({"model": model, "input": "hi"}, "/v1/embeddings"))
        assert reply.headers["x-h2o-server"] == name
        assert locked.asked[0].json()["model"] == "m"


async def served_by(running: Relay, model: Any) -> str:
    body = {"messages": MESSAGES} if model is None else {"model": model, "messages": MESSAGES}
    return (await running.ask(post(body))).headers["x-h2o-server"]


async def test_of_a_base_model_the_first_that_is_listed_and_up_answers() -> None:
    servers = [
        entry("base", "hidden", visible=False),
        entry("base", "away", server=NOBODY),
        entry("base", "there"),
        entry("secret", "unlisted", visible=False),
        entry("gone", "lost", server=NOBODY),
    ]
    async with relay(either, servers=servers) as running:
        assert await served_by(running, "base") == "there"
        assert await served_by(running, None) == "there"
        assert await served_by(running, "hidden") == "hidden"
        assert await served_by(running, "0") == "hidden"
        assert await served_by(running, "secret") == "unlisted"
        reply = await running.ask(post({"model": "gone", "messages": MESSAGES}))
        assert reply.status in (502, 503)
        assert reply.error["code"].startswith("upstream_")


async def test_a_pool_goes_before_a_base_model() -> None:
    servers = [entry("base", "a"), entry("base", "b")]
    pools = [PoolSpec(name="base", members=("b",))]
    async with relay(either, servers=servers, pools=pools) as running:
        assert await served_by(running, "base") == "b"


# What becomes of the fields that h2oGPT's clients send beside OpenAI's.


def theirs() -> list[str]:
    """h2oGPT's names, in its order (`evaluate_params.py`), and those of its API's own classes."""
    text = resources.files("h2o_relay_ui.h2ogpt").joinpath("positional.toml").read_text()
    names = tomllib.loads(text)["submit"].split()
    return [*names, "h2ogpt_key", "min_p", "best_of", "stop_token_ids", "user", "model_lock"]


def table() -> dict[str, str]:
    """What the page says becomes of each field."""
    section = DOCS.read_text(encoding="utf-8").partition("### Fields of requests")[2]
    rows = [line.strip("| ").split(" | ") for line in section.partition("\n## ")[0].splitlines()]
    fates = {}
    for row in rows:
        if len(row) == 3 and row[1] in FATES:
            fates |= dict.fromkeys(re.findall(r"`(\w+)`", row[0]), row[1])
    return fates


FATES = frozenset({"read", "passed on", "rendering", "left out"})
"""`read` by the relay; `passed on` to servers that take any field, and else reported; read by
`rendering` where there is any, and else passed on; `left out` and reported.
"""
SAMPLES: dict[str, Any] = {
    "prompt_type": "llama2", "prompt_dict": {"humanstr": "<h>"}, "temperature": 0.5, "top_p": 0.5,
    "max_time": 30, "seed": 7, "user": "name:password", "response_format": {"type": "text"},
    "n": 1, "max_tokens": 5, "stop": ["x"], "presence_penalty": 0.5, "frequency_penalty": 0.5,
    "logit_bias": {"1": 1}, "logprobs": True, "tools": [], "tool_choice": "auto", "stream": False,
}  # fmt: skip
OTHER = {"a": [1, "é"]}


async def test_the_page_has_every_field_of_h2ogpts_clients() -> None:
    assert not set(theirs()) - set(table())
    assert set(table().values()) == FATES
    assert table()["h2ogpt_key"] == "left out"
    assert table()["max_time"] == "read"


@pytest_asyncio.fixture(loop_scope="module")
async def plain(running: Relay) -> Relay:
    """A server that renders itself and takes any field."""
    running.plays(either)
    return running


def body_with(name: str) -> dict[str, Any]:
    fields = {name: SAMPLES.get(name, OTHER)}
    return {"model": "m", "messages": MESSAGES} | (
        fields if name not in ("model", "messages") else {}
    )


@pytest.mark.parametrize("name", sorted({*theirs(), *SAMPLES}))
async def test_a_field_is_passed_on_or_reported(plain: Relay, name: str) -> None:
    reply = await plain.ask(post(body_with(name)))
    assert reply.status == 200, reply.body
    (received,) = plain.asked
    sent, told = received.json(), reply.headers.get("x-h2o-dropped-params", "")
    fate = table()[name]
    if fate in ("passed on", "rendering"):
        assert received.body == orjson.dumps(body_with(name))
        assert told == ""
    elif fate == "left out":
        assert name not in sent
        assert told == name


async def test_nothing_is_added_that_nobody_asked_for(plain: Relay) -> None:
    """h2oGPT's API had 256 tokens, a temperature of 0.3 and other defaults of its own."""
    await plain.ask(post({"model": "m", "messages": MESSAGES}))
    assert plain.asked[0].json() == {"model": "m", "messages": MESSAGES}


async def test_a_limit_of_time_is_kept_here(plain: Relay) -> None:
    await plain.ask(post(body_with("max_time")))
    assert "max_time" not in plain.asked[0].json()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["chat/completions", "completions"])
async def test_a_key_in_the_body_goes_nowhere(plain: Relay, name: str, stream: bool) -> None:
    """h2oGPT's documents have it there, beside the header. It is this relay's, and no server's."""
    key = "sk-canary-in-the-body"
    body = {"model": "m", "messages": MESSAGES, "prompt": "hi", "stream": stream}
    reply = await plain.ask(post({**body, "h2ogpt_key": key}, f"/v1/{name}"))
    assert reply.status == 200
    assert reply.headers["x-h2o-dropped-params"] == "h2ogpt_key"
    assert plain.asked[0].json() == body
    assert key.encode() not in reply.body
    plain.plays(either)
    strict = {"x-h2o-strict": "true"}
    refused = await plain.ask(post({**body, "h2ogpt_key": key}, f"/v1/{name}", strict))
    assert_error(refused, 400, "unsupported_parameter", "invalid_request_error")
    assert refused.error["param"] == "h2ogpt_key"
    assert not plain.asked


REFUSED = ("unsupported_parameter", "h2ogpt_key")


@pytest.mark.parametrize("path", ["embeddings", "responses", "messages", "nope"])
async def test_a_key_in_the_body_of_another_path_is_refused(plain: Relay, path: str) -> None:
    """h2oGPT had none of these paths, and most of these bodies go up as they are."""
    body = {"model": "m", "input": "hi", "h2ogpt_key": "sk-canary"}
    reply = await plain.ask(post(body, f"/v1/{path}"))
    assert reply.status == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "h2ogpt_key" in error["message"]
    assert b"sk-canary" not in reply.body
    assert path == "messages" or (error["code"], error["param"]) == REFUSED
    assert not plain.asked


async def test_a_key_in_the_body_opens_nothing() -> None:
    async with relay(either, api_key="sk-1") as running:
        reply = await running.ask(post({**body_with("model"), "h2ogpt_key": "sk-1"}))
        assert_error(reply, 401, "missing_api_key")
        assert not running.asked


async def test_where_the_relay_renders_a_prompt_type_is_read() -> None:
    text = {"id": "t", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": " Hello!", "finish_reason": "stop"}]}  # fmt: skip
    servers = [
        ServerSpec(server="vllm:{url}/v1", base_model="m", tuning=Tuning(prompt_type="plain"))
    ]
    async with relay(json(text), servers=servers) as running:
        for name in ("prompt_type", "prompt_dict"):
            running.upstream.requests.clear()
            reply = await running.ask(post(body_with(name)))
            assert reply.status == 200, reply.body
            (received,) = running.asked
            assert name not in received.json()
            if name == "prompt_type":
                assert "[INST]" in received.json()["prompt"]
        running.upstream.requests.clear()
        wrong = await running.ask(post({**body_with("model"), "prompt_type": "lama2"}))
        assert wrong.status == 400
        assert not running.asked


def choosy() -> Plugins:
    """A plugin whose servers honour but a few fields."""
    import h2o_relay_vllm as vllm

    made = ModuleType("vllm")
    for name, hook in vars(vllm).items():
        if not name.startswith("_"):
            setattr(made, name, hook)

    @hookimpl
    def capabilities(server: Server) -> Capabilities:
        return Capabilities(fields=KNOWN)

    vars(made)["capabilities"] = capabilities
    return Plugins.of(vllm=made)


KNOWN = frozenset({"model", "messages", "stream", "stop", "temperature", "max_tokens", "user"})


async def test_a_server_that_honours_few_fields() -> None:
    async with relay(either, servers=["vllm:{url}/v1"], plugins=choosy()) as running:
        for name in sorted({*theirs(), *SAMPLES} - {"max_time", "stream"}):
            reply = await running.ask(post(body_with(name)))
            assert reply.status == 200
            told = reply.headers.get("x-h2o-dropped-params", "")
            assert told == ("" if name in KNOWN else name), name
