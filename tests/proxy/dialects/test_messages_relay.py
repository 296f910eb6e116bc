"""/v1/messages on a real socket, asked by the official client: over a server that only chats."""

from __future__ import annotations

from typing import Any

import anthropic
import orjson
import pytest

from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import json, sse
from h2o_relay.types import Tuning

from ..kit import MODEL, Relay, chat, completion, event, post, relay
from .messages_kit import PROMPTED, USER, asked, grown

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/messages"
CHATS = ["openai_chat:None:{url}/v1"]
LOOK: Any = {"name": "look", "input_schema": {"type": "object"}}
TOLD = orjson.dumps({"id": "c", "choices": [], "usage": PROMPTED})
ASKED: Any = {"model": MODEL, "max_tokens": 50, "messages": USER}


def sdk(running: Relay) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=running.url, max_retries=0)


async def test_a_message() -> None:
    async with relay(json(completion("Hello.")), servers=CHATS) as running:
        async with sdk(running) as client:
            message = await client.messages.create(
                **ASKED, system="Be brief.", extra_body={"top_k": 4}
            )
        sent = running.asked[0]
        assert sent.path == "/v1/chat/completions"
        assert orjson.loads(sent.body) == {
            "model": MODEL, "max_tokens": 50, "top_k": 4,
            "messages": [{"role": "system", "content": "Be brief."}, *USER],
        }  # fmt: skip
        assert message.to_dict()["content"] == [{"type": "text", "text": "Hello."}]
        assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 2)


async def test_a_stream_with_tools() -> None:
    payloads = [
        event({"role": "assistant", "content": "I look."}),
        event(grown(0, '{"n":', id="a", name="look")),
        event(grown(0, "1}")),
        event({}, "tool_calls"),
        TOLD,
    ]
    async with relay(sse(payloads), servers=CHATS) as running:
        async with (
            sdk(running) as client,
            client.messages.stream(**ASKED, tools=[LOOK], tool_choice={"type": "any"}) as stream,
        ):
            kinds = [one.type async for one in stream]
            message = await stream.get_final_message()
        body = orjson.loads(running.asked[0].body)
        assert (body["tool_choice"], body["stream_options"]) == (
            "required", {"include_usage": True},
        )  # fmt: skip
        assert [kinds[0], kinds[-1]] == ["message_start", "message_stop"]
        assert message.content[1].to_dict()["input"] == {"n": 1}
        assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 5)


async def test_a_stream_that_breaks_off() -> None:
    async with relay(sse([event({"content": "He"})]), servers=CHATS) as running:
        reply = await running.ask(post(asked(model=MODEL, stream=True), PATH))
        assert reply.status == 200
        assert reply.body.rstrip().split(b"\n")[-2] == b"event: error"
        assert b"message_stop" not in reply.body
        assert b"[DONE]" not in reply.body


async def test_what_is_dropped_is_told_or_refused() -> None:
    body = asked(model=MODEL, thinking={"type": "disabled"}, container="c")
    async with relay(json(completion()), servers=CHATS) as running:
        reply = await running.ask(post(body, PATH))
        assert reply.headers["x-h2o-dropped-params"] == "thinking, container"
        running.upstream.requests.clear()
        refused = await running.ask(post(body, PATH, {"x-h2o-strict": "true"}))
        assert refused.status == 400
        assert "thinking" in refused.json()["error"]["message"]
        assert running.asked == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        (asked(model=MODEL, max_tokens=None), 400, "invalid_request_error"),
        (asked(model="nobody"), 404, "not_found_error"),
    ],
)
async def test_errors_are_anthropics(body: Any, status: int, kind: str) -> None:
    async with relay(servers=CHATS) as running:
        reply = await running.ask(post(body, PATH))
        assert reply.status == status
        found = reply.json()
        assert (found["type"], found["error"]["type"]) == ("error", kind)
        assert found["request_id"] == reply.headers["x-request-id"]
        assert running.asked == []


async def test_tokens_are_counted() -> None:
    async with relay(servers=CHATS) as running, sdk(running) as client:
        short = await client.messages.count_tokens(model=MODEL, messages=USER)
        long = await client.messages.count_tokens(model=MODEL, messages=USER, system="so " * 500)
        assert 0 < short.input_tokens < 100 < long.input_tokens


COUNTS = [
    ("/v1/messages/count_tokens", {"messages": USER, "container": "c"}, "container"),
    ("/v1/responses/input_tokens", {"input": "hi", "prompt_cache_retention": "24h"}, ""),
]


@pytest.mark.parametrize(("path", "body", "dropped"), COUNTS)
async def test_counts_drop_nothing_silently_either(
    path: str, body: dict[str, Any], dropped: str
) -> None:
    async with relay(servers=CHATS) as running:
        told = await running.ask(post({"model": MODEL, **body}, path))
        assert (told.status, told.headers.get("x-h2o-dropped-params", "")) == (200, dropped)
        strict = await running.ask(post({"model": MODEL, **body}, path, {"x-h2o-strict": "true"}))
        assert strict.status == (400 if dropped else 200)
        assert dropped.encode() in strict.body
        wrong = await running.ask(post({"model": MODEL, **body}, path, {"x-h2o-strict": "maybe"}))
        assert wrong.status == 400
        assert b"x-h2o-strict" in wrong.body


async def test_models_are_listed_for_clients_of_anthropics() -> None:
    async with relay(servers=CHATS) as running, sdk(running) as client:
        assert [model.id async for model in client.models.list(limit=1)] == [MODEL]
        assert (await client.models.retrieve(MODEL)).display_name == MODEL
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nobody")


async def test_an_answer_goes_on_where_the_relay_renders() -> None:
    """What the dialect adds to say so is not reported as the caller's."""
    text = {"id": "c", "choices": [{"index": 0, "text": " B)", "finish_reason": "stop"}]}
    spec = ServerSpec(
        server="vllm:{url}/v1", base_model=MODEL, tuning=Tuning(prompt_type="human_bot")
    )
    async with relay(json({**text, "usage": PROMPTED}), servers=[spec]) as running:
        begun = [*USER, {"role": "assistant", "content": "It is"}]
        reply = await running.ask(
            post(asked(model=MODEL, messages=begun), PATH, {"x-h2o-strict": "true"})
        )
        assert reply.status == 200, reply.body
        assert "x-h2o-dropped-params" not in reply.headers
        sent = orjson.loads(running.asked[0].body)
        assert sent["prompt"].endswith("It is")


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue"}, "x"], ids=str)
async def test_a_thread_is_refused_so_that_the_client_sends_all_of_it(thread: Any) -> None:
    async with relay(servers=CHATS) as running:
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            reply = await running.ask(post({**ASKED, "thread": thread}, path))
            error = reply.json()["error"]
            assert (reply.status, error["type"]) == (400, "invalid_request_error")
            assert error["details"] == {
                "error_code": "thread_unsupported_request", "unsupported": ["thread"],
            }  # fmt: skip
        assert running.asked == []


async def test_the_requests_id_has_the_name_that_anthropics_client_reads() -> None:
    async with relay(servers=CHATS) as running:
        running.plays(json(completion("hi")))
        good = await running.ask(post(ASKED, "/v1/messages"))
        bad = await running.ask(post({**ASKED, "model": "nobody"}, "/v1/messages"))
        other = await running.ask(post(chat(False)))
    for reply in (good, bad):
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
    assert "request-id" not in other.headers


async def test_as_a_setting_strict_holds_for_what_a_dialect_drops() -> None:
    async with relay(servers=CHATS, strict_params=True) as running:
        reply = await running.ask(post({**ASKED, "container": "c"}, PATH))
        assert reply.status == 400
        assert "container" in reply.json()["error"]["message"]
        assert running.asked == []
