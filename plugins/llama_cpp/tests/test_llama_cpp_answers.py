"""Answers whose shape is mended, and requests of which something is passed over. Events and bodies
are what llama.cpp (2026-10) was seen to say, but for `id`, `created` and `timings`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import InvalidRequest, UpstreamBadResponse
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import Play, json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Tuning

MODELS = json({"object": "list", "data": [{"id": "m", "owned_by": "llamacpp"}]})
ASKED = {"include_usage": True}
SEEN = {"role": "user", "content": [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
]}  # fmt: skip
HI = {"role": "user", "content": "hi"}
BLIND = (
    "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
)
TOOL = {"type": "function", "function": {"name": "f"}}


class Relayed:
    def __init__(self, kernel: Kernel, asked: list[Received]) -> None:
        self.kernel, self.asked = kernel, asked

    async def streamed(self, kind: Any, **params: Any) -> tuple[list[Any], tuple[str, ...]]:
        """The events, and what was dropped."""
        asked = {"model": "m", "stream": True, **params}
        async with self.kernel.stream(kind, asked, None) as answer:
            return [event async for chunk in answer for event in chunk.events()], answer.dropped

    async def whole(self, kind: Any, **params: Any) -> dict[str, Any]:
        return (await self.kernel.generate(kind, {"model": "m", **params}, None)).data

    async def dropped(self, kind: Any, **params: Any) -> tuple[str, ...]:
        return (await self.kernel.generate(kind, {"model": "m", **params}, None)).dropped


@asynccontextmanager
async def relayed(answer: Play, served: ServerSpec | None = None) -> AsyncIterator[Relayed]:
    """A relay in front of a llama.cpp that says this to whatever it is asked."""
    asked: list[Received] = []

    async def run(request: Received, out: Answer) -> None:
        if request.method == "POST":
            asked.append(request)
        await (answer if request.method == "POST" else MODELS)(request, out)

    async with ScriptedUpstream(run) as upstream:
        plugins = Plugins.of(llama_cpp=plugin)
        spec = replace(served or ServerSpec(server="{url}"), server=upstream.url)
        async with Kernel(quick(), [spec], plugins) as kernel:
            await kernel.settled(20)
            yield Relayed(kernel, asked)


def events(*said: dict[str, Any]) -> Play:
    return sse([orjson.dumps({"id": "x", "model": "m", **one}) for one in said])


def token(text: str, logprob: float, *others: str) -> dict[str, Any]:
    one = {"id": 1, "token": text, "bytes": list(text.encode()), "logprob": logprob}
    tops = [{"id": 2, "token": other, "bytes": [46], "logprob": -3.0} for other in others]
    return {**one, "top_logprobs": [{**one}, *tops]}


def text(
    said: str, *told: dict[str, Any], index: int = 0, end: str | None = None
) -> dict[str, Any]:
    logprobs = {"content": list(told)} if told else None
    choice = {"text": said, "index": index, "logprobs": logprobs, "finish_reason": end}
    return {"object": "text_completion", "choices": [choice]}


def used(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    return {
        "completion_tokens": completion, "prompt_tokens": prompt,
        "total_tokens": prompt + completion, "prompt_tokens_details": {"cached_tokens": cached},
    }  # fmt: skip


TOLD = events(
    text(" Paris", token(" Paris", -0.25, " the")),
    text(".", token(".", -0.5, ",")),
    {**text("", end="length"), "usage": used(5, 2)},
)


async def test_logprobs_of_a_text_have_the_shape_of_a_texts() -> None:
    async with relayed(TOLD) as relay:
        found, dropped = await relay.streamed("text", prompt="a", logprobs=2)
        whole = await relay.whole("text", prompt="a", logprobs=2)
        assert [one.json()["logprobs"] for one in relay.asked] == [2, 2]
    assert dropped == ()
    first, second, last = (event["choices"][0]["logprobs"] for event in found)
    assert first == {
        "tokens": [" Paris"], "token_logprobs": [-0.25], "text_offset": [0],
        "top_logprobs": [{" Paris": -0.25, " the": -3.0}],
    }  # fmt: skip
    assert second["text_offset"] == [6]
    assert last is None
    assert whole["choices"][0]["logprobs"] == {
        "tokens": [" Paris", "."], "token_logprobs": [-0.25, -0.5], "text_offset": [0, 6],
        "top_logprobs": [{" Paris": -0.25, " the": -3.0}, {".": -0.5, ",": -3.0}],
    }  # fmt: skip


async def test_logprobs_without_alternatives() -> None:
    """llama.cpp would tell none."""
    async with relayed(TOLD) as relay:
        found, _ = await relay.streamed("text", prompt="a", logprobs=0)
        assert relay.asked[0].json()["logprobs"] == 1
    told = found[0]["choices"][0]["logprobs"]
    assert (told["tokens"], told["top_logprobs"]) == ([" Paris"], [{}])


async def test_logprobs_of_a_chat_that_the_relay_renders() -> None:
    """They are asked for at /completions, and have a chat's shape already."""
    rendered = ServerSpec(server="{url}", base_model="m", tuning=Tuning(prompt_type="qwen"))
    async with relayed(TOLD, rendered) as relay:
        found, _ = await relay.streamed("chat", messages=[HI], logprobs=True)
        assert relay.asked[0].path == "/v1/completions"
        assert relay.asked[0].json()["logprobs"] == 1
        tops, _ = await relay.streamed("chat", messages=[HI], logprobs=True, top_logprobs=2)
    told = [one for event in found for c in event["choices"] for one in content(c)]
    assert [(one["token"], one["top_logprobs"]) for one in told] == [(" Paris", []), (".", [])]
    assert len(content(tops[0]["choices"][0])[0]["top_logprobs"]) == 2


def content(choice: dict[str, Any]) -> list[Any]:
    return (choice.get("logprobs") or {}).get("content") or []


@pytest.mark.parametrize("params", [{}, {"logprobs": None}, {"logprobs": False}])
async def test_what_asks_for_no_logprobs_stays_as_it_is(params: dict[str, Any]) -> None:
    async with relayed(TOLD) as relay:
        found, _ = await relay.streamed("text", prompt="a", **params)
    assert "content" in found[0]["choices"][0]["logprobs"]


async def test_events_before_one_that_is_broken_are_not_lost() -> None:
    good = orjson.dumps(text(" Paris", token(" Paris", -0.25)))
    async with relayed(sse([good, b"{"])) as relay:
        asked = {"model": "m", "stream": True, "prompt": "a", "logprobs": 1}
        async with relay.kernel.stream("text", asked, None) as answer:
            chunk = await anext(answer)
            assert chunk.events()[0]["choices"][0]["logprobs"]["tokens"] == [" Paris"]
            with pytest.raises(UpstreamBadResponse, match="not JSON"):
                await anext(answer)


def grows(index: int, content: str) -> dict[str, Any]:
    choice = {"finish_reason": None, "index": index, "delta": {"content": content}}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def ends(index: int, completion: int) -> list[dict[str, Any]]:
    choice = {"finish_reason": "stop", "index": index, "delta": {}}
    usage = {"choices": [], "usage": used(27, completion, 26), "timings": {"cache_n": 26}}
    return [{"choices": [choice]}, usage]


TWO = events(grows(1, "a"), grows(0, "b"), *ends(1, 3), grows(0, "c"), *ends(0, 4))


async def test_two_choices_have_one_usage() -> None:
    async with relayed(TWO) as relay:
        found, _ = await relay.streamed("chat", messages=[HI], n=2, stream_options=ASKED)
        whole = await relay.whole("chat", messages=[HI], n=2)
    assert [event.get("usage") for event in found[:-1]] == [None] * 5
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == whole["usage"] == used(27, 7, 26)
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["bc", "a"]


async def test_several_prompts_count_once_each() -> None:
    """Two prompts, two choices each: as llama.cpp numbers them."""
    told = [{**text("", index=n, end="stop"), "usage": used(u, 2, 1)}
            for n, u in ((1, 5), (0, 5), (3, 4), (2, 4))]  # fmt: skip
    async with relayed(events(*told)) as relay:
        asked: dict[str, Any] = {"prompt": ["a", "b"], "n": 2}
        found, _ = await relay.streamed("text", **asked, stream_options=ASKED)
        plain, _ = await relay.streamed("text", **asked)
    assert [event.get("usage") for event in found] == [None] * 4 + [used(9, 8, 2)]
    assert [event["choices"][0]["index"] for event in found[:-1]] == [1, 0, 3, 2]
    assert [event["usage"] for event in plain] == [one["usage"] for one in told]  # as they came


async def test_one_choice_is_passed_on_as_it_comes() -> None:
    async with relayed(events(grows(0, "b"), *ends(0, 4))) as relay:
        found, _ = await relay.streamed("chat", messages=[HI], stream_options=ASKED)
    assert found[-1]["usage"] == used(27, 4, 26)
    assert found[-1]["timings"] == {"cache_n": 26}


CALLED = {
    "id": "x", "model": "m", "object": "chat.completion", "usage": used(27, 3),
    "timings": {"cache_n": 0},
    "choices": [{
        "index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        "logprobs": {"content": [token("{", -0.5)]},
    }],
}  # fmt: skip


async def test_logprobs_of_calls_are_asked_for_whole() -> None:
    """llama.cpp: "logprobs is not supported with tools + stream"."""
    asked: dict[str, Any] = {"messages": [HI], "tools": [TOOL], "logprobs": True}
    async with relayed(json(CALLED)) as relay:
        found, dropped = await relay.streamed("chat", **asked, stream_options=ASKED)
        whole = await relay.whole("chat", **asked)
        for one in relay.asked:
            assert one.json() == {"model": "m", **asked, "stream": False}
    assert dropped == ()
    said, end, usage = found
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    assert said["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    assert said["choices"][0]["logprobs"] == CALLED["choices"][0]["logprobs"]
    assert (said["choices"][0]["finish_reason"], end["choices"][0]["finish_reason"]) == (
        None, "tool_calls",
    )  # fmt: skip
    assert (usage["choices"], usage["usage"]) == ([], used(27, 3))
    assert whole["choices"] == CALLED["choices"]
    assert whole["usage"] == CALLED["usage"]


async def test_the_usage_of_one_choice_is_not_told_for_two() -> None:
    two = {**CALLED, "choices": [{**CALLED["choices"][0], "index": n} for n in (0, 1)]}
    async with relayed(json(two)) as relay:
        whole = await relay.whole("chat", messages=[HI], tools=[TOOL], logprobs=True, n=2)
    assert len(whole["choices"]) == 2
    assert whole["usage"]["estimated"] is True


UNREAD: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("text", {"echo": True, "suffix": "z", "best_of": 2}, ("echo", "suffix", "best_of")),
    ("text", {"echo": False, "suffix": "", "best_of": 1}, ()),
    ("text", {"best_of": 2, "n": 2}, ()),
    ("text", {"best_of": None, "user": "ann", "seed": 1}, ()),
    ("chat", {"verbosity": "low"}, ("verbosity",)),
    ("chat", {"verbosity": "medium", "modalities": ["text"], "reasoning_effort": "low"}, ()),
    ("chat", {"modalities": ["text", "audio"], "audio": {"voice": "alloy"}},
     ("audio", "modalities")),
    ("chat", {"web_search_options": {}}, ("web_search_options",)),
    ("chat", {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
     ("functions", "function_call")),
    ("chat", {"functions": [{"name": "f"}], "function_call": "none"}, ("functions",)),
    ("chat", {"moderation": {"model": "x"}}, ("moderation",)),
    ("chat", {"user": "ann", "metadata": {}, "store": True, "prediction": {"type": "content"},
              "service_tier": "flex", "safety_identifier": "s", "echo": True}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "unread"), UNREAD)
async def test_fields_that_are_passed_over(
    kind: Any, fields: dict[str, Any], unread: tuple[str, ...]
) -> None:
    asked = {**({"prompt": "a"} if kind == "text" else {"messages": [HI]}), **fields}
    count = fields.get("n", 1)
    if kind == "text":
        answer = events(*(text("x", index=n, end="stop") for n in range(count)))
    else:
        answer = events(grows(0, "x"), *ends(0, 1))
    async with relayed(answer) as relay:
        assert await relay.dropped(kind, **asked) == unread
        (sent,) = relay.asked
        assert fields.items() <= sent.json().items(), "a later server may know it"
        if not unread:
            return
        relay.asked.clear()
        with pytest.raises(InvalidRequest) as caught:
            await relay.kernel.generate(kind, {"model": "m", **asked}, None, None, True)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", unread[0])
        assert relay.asked == []


def failed(message: str) -> Play:
    return json({"error": {"code": 500, "message": message, "type": "server_error"}}, 500)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_picture_that_the_model_cannot_see_is_the_requests_fault(stream: bool) -> None:
    async with relayed(failed(BLIND)) as relay:
        ask: Any = relay.streamed if stream else relay.whole
        with pytest.raises(InvalidRequest) as caught:
            await ask("chat", messages=[HI, SEEN])
        assert len(relay.asked) == 1
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "invalid_value", "messages")
    assert error.message == BLIND


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        ([HI], failed(BLIND)),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], failed(BLIND)),
        ([SEEN], json({}, 500)),  # not its word
    ],
)
async def test_other_failures_are_the_servers(messages: list[Any], answer: Play) -> None:
    async with relayed(answer) as relay:
        with pytest.raises(UpstreamBadResponse, match="500"):
            await relay.whole("chat", messages=messages)
