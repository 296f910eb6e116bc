"""What the kernel does where a server lacks it: completions over chats, usage, counting; and that
whoever wants nothing ignored is refused before anything is sent.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Completion
from h2o_relay.errors import InvalidRequest
from h2o_relay.hookspecs import hookimpl
from h2o_relay.kernel import Kernel
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Capabilities, Request

from . import plain
from .test_kernel import ASK, Backend, asked, running

pytestmark = pytest.mark.usefixtures("leaves_nothing")
CHATS = Capabilities(kinds=frozenset({"chat"}))
TOKEN = {"token": "a ", "logprob": -0.5, "bytes": None, "top_logprobs": [
    {"token": "a ", "logprob": -0.5, "bytes": None}, {"token": "b", "logprob": -2.0, "bytes": None},
]}  # fmt: skip


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return orjson.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 1,
                         "model": "a", "choices": [choice]})  # fmt: skip


EVENTS = [
    event({"role": "assistant", "content": ""}),
    event({"content": "a "}, logprobs={"content": [TOKEN], "refusal": None}),
    event({"content": "b"}, logprobs={"content": [{**TOKEN, "token": "b"}], "refusal": None}),
    event({}, "stop"),
]
WHOLE = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "a",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a b"},
                 "logprobs": {"content": [TOKEN], "refusal": None}, "finish_reason": "stop"}],
}  # fmt: skip


async def reply(request: Received, answer: Answer) -> None:
    """Streamed or whole; it never says what it used."""
    streamed = request.json().get("stream")
    await (sse(EVENTS) if streamed else json(WHOLE))(request, answer)


def chats(can: Capabilities = CHATS) -> Any:
    return running(Backend("a", reply=reply), plugins=plain.plugins(capabilities=lambda: can))


async def streamed(kernel: Kernel, kind: Any, **params: Any) -> tuple[list[Any], Any]:
    async with kernel.stream(kind, {**params, "stream": True}) as answer:
        return [event async for chunk in answer for event in chunk.events()], answer


class TestCompletionsOverChats:
    async def test_the_prompt_becomes_one_user_message(self) -> None:
        async with chats() as (kernel, [upstream]):
            found = await kernel.generate("text", {"prompt": "once", "logprobs": 2, "top_k": 3})
            [request] = asked(upstream)
        assert request.path == "/v1/chat/completions"
        assert request.json() == {
            "messages": [{"role": "user", "content": "once"}], "logprobs": True, "top_logprobs": 2,
            "max_tokens": 16, "top_k": 3, "model": "a",
        }  # fmt: skip
        assert found.data["object"] == "text_completion"
        [choice] = found.data["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("a b", "stop")
        assert "message" not in choice
        assert choice["logprobs"] == {
            "tokens": ["a "], "token_logprobs": [-0.5], "text_offset": [0],
            "top_logprobs": [{"a ": -0.5, "b": -2.0}],
        }  # fmt: skip
        assert found.notes is not None
        assert found.notes["translated"] == "completions-to-chat"

    async def test_streamed(self) -> None:
        async with chats() as (kernel, _):
            events, answer = await streamed(kernel, "text", prompt=["once"])
        assert answer.notes == {"translated": "completions-to-chat"}
        assert {event["object"] for event in events} == {"text_completion"}
        choices = [event["choices"][0] for event in events]
        assert [choice["text"] for choice in choices] == ["a ", "b", ""]
        assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
        assert choices[0]["logprobs"]["tokens"] == ["a "]
        assert [choices[n]["logprobs"]["text_offset"] for n in (0, 1)] == [[0], [2]]
        assert all("delta" not in choice for choice in choices)

    @pytest.mark.parametrize("prompt", [["one", "two"], [1, 2], [[1, 2]]], ids=str)
    async def test_what_one_message_cannot_be(self, prompt: Any) -> None:
        async with chats() as (kernel, [upstream]):
            for ask in (streamed(kernel, "text", prompt=prompt),
                        kernel.generate("text", {"prompt": prompt})):  # fmt: skip
                with pytest.raises(InvalidRequest) as caught:
                    await ask
                assert caught.value.param == "prompt"
            assert asked(upstream) == []

    async def test_what_a_chat_does_not_know_is_told_by_the_callers_names(self) -> None:
        can = Capabilities(kinds=CHATS.kinds, fields=frozenset({"model", "messages", "max_tokens"}))
        fields = {"echo": True, "suffix": "!", "best_of": 1, "logprobs": 1, "seed": 7}
        async with chats(can) as (kernel, _):
            found = await kernel.generate("text", {"prompt": "once", **fields})
            _, answer = await streamed(kernel, "text", prompt="once", **fields)
        assert sorted(set(found.dropped)) == sorted(fields)
        assert set(answer.dropped) == {*fields, "stream"}

    async def test_a_server_of_embeddings_has_neither(self) -> None:
        async with chats(Capabilities(kinds=frozenset())) as (kernel, _):
            with pytest.raises(InvalidRequest, match="embeddings alone"):
                await kernel.generate("text", {"prompt": "once"})


class TestUsage:
    @pytest.mark.parametrize(("kind", "asked"), [("chat", ASK), ("text", {"prompt": "hi"})])
    async def test_where_the_server_tells_none(self, kind: Any, asked: dict[str, Any]) -> None:
        async with chats() as (kernel, _):
            found = await kernel.generate(kind, asked)
            events, _ = await streamed(
                kernel, kind, **asked, stream_options={"include_usage": True}
            )
            without, _ = await streamed(kernel, kind, **asked)
        assert found.notes is not None
        assert found.notes["usage"] == "estimated"
        usage = found.data["usage"]
        assert usage.pop("estimated") is True
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens"] >= 1 <= usage["completion_tokens"]
        last = events[-1]
        assert last["choices"] == []
        assert last["usage"]["estimated"] is True
        assert last["usage"] == {**usage, "estimated": True}
        assert (last["id"], last["model"]) == ("c1", "a")
        assert not any("usage" in event for event in without)

    async def test_what_the_server_tells_stays(self) -> None:
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

        async def telling(request: Received, answer: Answer) -> None:
            last = orjson.dumps({**orjson.loads(EVENTS[0]), "choices": [], "usage": usage})
            whole = json({**WHOLE, "usage": usage})
            streamed = request.json().get("stream")
            await (sse([*EVENTS, last]) if streamed else whole)(request, answer)

        async with running(Backend("a", reply=telling)) as (kernel, _):
            found = await kernel.generate("chat", ASK)
            options = {"include_usage": True}
            events, _ = await streamed(kernel, "chat", **ASK, stream_options=options)
        assert orjson.loads(found.body) == {**WHOLE, "usage": usage}
        assert found.notes is None
        assert [event["usage"] for event in events if "usage" in event] == [usage]

    async def test_a_longer_answer_is_estimated_to_have_more(self) -> None:
        from h2o_relay.usage import with_usage

        def of(text: str) -> int:
            found = with_usage(Completion.of([text], id="i", model="m"), ASK)
            return int(found.data["usage"]["completion_tokens"])

        text = "It was a bright cold day in April, and the clocks were striking thirteen. " * 20
        assert 0.7 < of(text) / (17 * 20) < 1.4
        assert of("") == 0


class TestStrict:
    CAN = Capabilities(fields=frozenset({"model", "messages", "stream"}))

    async def test_nothing_is_sent(self) -> None:
        async with chats(self.CAN) as (kernel, [upstream]):
            params = {**ASK, "seed": 1}
            for ask in (kernel.stream("chat", params, strict=True).__aenter__(),
                        kernel.generate("chat", params, strict=True)):  # fmt: skip
                with pytest.raises(InvalidRequest) as caught:
                    await ask
                assert (caught.value.param, caught.value.code) == ("seed", "unsupported_parameter")
            assert asked(upstream) == []
            assert (await kernel.generate("chat", ASK, strict=True)).dropped == ()

    async def test_as_a_setting(self) -> None:
        plugins = plain.plugins(capabilities=lambda: self.CAN)
        backend = Backend("a", reply=reply)
        async with running(backend, plugins=plugins, strict_params=True) as (kernel, [upstream]):
            with pytest.raises(InvalidRequest, match="does not honour 'seed'"):
                await kernel.generate("chat", {**ASK, "seed": 1})
            assert asked(upstream) == []

    async def test_what_a_plugin_learns_late(self) -> None:
        """It is refused all the same, though the server was asked."""

        async def generate(request: Request) -> Completion:
            request.drop("seed")
            return Completion.of(["x"], id="i", model="a")

        plugins = plain.plugins(generate=generate)
        async with running(Backend("a"), plugins=plugins) as (kernel, _):
            with pytest.raises(InvalidRequest, match="seed"):
                await kernel.generate("chat", {**ASK, "seed": 1}, strict=True)
            assert (await kernel.generate("chat", {**ASK, "seed": 1})).dropped == ("seed",)


class TestCounting:
    async def test_by_the_server(self) -> None:
        @hookimpl
        async def count_tokens(request: Request) -> int | None:
            return sum(len(m["content"].split()) for m in request.params["messages"])

        plugins = plain.plugins(
            capabilities=lambda: Capabilities(tokenizer=True), count_tokens=count_tokens
        )
        async with running(Backend("a"), plugins=plugins) as (kernel, _):
            found = await kernel.count_tokens({"messages": [{"role": "user", "content": "a b c"}]})
        assert (found.tokens, found.estimated, found.deployment.name) == (3, False, "a")

    async def test_by_the_text(self) -> None:
        tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        async with chats() as (kernel, [upstream]):
            found = await kernel.count_tokens(ASK)
            more = await kernel.count_tokens({**ASK, "tools": tools})
            assert asked(upstream) == []
        assert found.estimated
        assert 0 < found.tokens < more.tokens
