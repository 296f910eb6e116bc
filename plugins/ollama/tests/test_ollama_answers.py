"""Answers of a stand-in Ollama in OpenAI's shape, whole and streamed."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from h2o_relay.errors import (
    ContextTooLong,
    InvalidRequest,
    RelayError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamResponseTooLarge,
)
from h2o_relay.kernel import Kernel
from h2o_relay.testing.scripts import json, stream, whole

from .ollama_kit import bench, choices, reasons, relay, text_of, user
from .ollama_standin import BROKEN, CHATTY, JSON_LINES, NO_MEMORY, TOO_LONG

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


async def test_a_chat_streamed_and_whole() -> None:
    async with bench() as b:
        found = await b.stream(messages=user("one two three"), stream=True)
        answer = await b.generate(messages=user("one two three"))
    assert b.route == "/api/chat"
    assert text_of(found) == answer.text == "one two three"
    assert reasons(found) == [answer.finish_reason] == ["stop"]
    assert choices(found)[0]["delta"]["role"] == "assistant"
    assert all("role" not in choice["delta"] for choice in choices(found)[1:])
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    assert len({(event["id"], event["created"]) for event in found}) == 1
    assert not any("usage" in event for event in found)
    assert answer.data["object"] == "chat.completion"
    assert answer.data["model"] == CHATTY
    assert answer.usage == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert orjson.loads(answer.body) == answer.data


async def test_a_text_streamed_and_whole() -> None:
    async with bench() as b:
        found = await b.stream("text", text="one two", stream=True)
        answer = await b.generate("text", text=["one two"])
    assert b.route == "/api/generate"
    assert text_of(found) == answer.text == "one two"
    assert reasons(found) == [answer.finish_reason] == ["stop"]
    assert {event["object"] for event in found} == {"text_completion"}
    assert answer.data["object"] == "text_completion"
    assert answer.usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


async def test_usage_is_streamed_when_asked_for_and_null_before() -> None:
    async with bench() as b:
        found = await b.stream(
            messages=user("a b"), stream=True, stream_options={"include_usage": True}
        )
    *before, last = found
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert before
    assert all(event["usage"] is None for event in before)


async def test_a_limit_becomes_length() -> None:
    async with bench() as b:
        found = await b.stream(messages=user("a b c"), max_tokens=2, stream=True)
        answer = await b.generate(messages=user("a b c"), max_completion_tokens=1, max_tokens=9)
    assert (text_of(found), reasons(found)) == ("a b", ["length"])
    assert (answer.text, answer.finish_reason) == ("a", "length")


async def test_thinking_becomes_reasoning_content() -> None:
    async with bench() as b:
        found = await b.stream(messages=user("think hard"), reasoning_effort="high", stream=True)
        answer = await b.generate(messages=user("think hard"), think=True)
        text = await b.generate("text", text="think hard", think=True)
        without = await b.generate(messages=user("think hard"), reasoning_effort="none")
    assert choices(found)[0]["delta"] == {"role": "assistant", "reasoning_content": "Hmm."}
    assert text_of(found) == "think hard"
    assert answer.data["choices"][0]["message"]["reasoning_content"] == "Hmm."
    assert text.data["choices"][0] | {"text": ""} == {
        "index": 0, "text": "", "reasoning_content": "Hmm.", "logprobs": None,
        "finish_reason": "stop",
    }  # fmt: skip
    assert "reasoning_content" not in without.data["choices"][0]["message"]


async def test_calls_of_tools_are_numbered_and_named_through_the_answer() -> None:
    async with bench() as b:
        found = await b.stream(messages=user("call weather"), tools=TOOLS, stream=True)
        answer = await b.generate(messages=user("call weather"), tools=TOOLS)
    streamed = [call for c in choices(found) for call in c["delta"].get("tool_calls", ())]
    assert [call["index"] for call in streamed] == [0, 1]
    assert len({call["id"] for call in streamed}) == 2
    assert reasons(found) == ["tool_calls"]
    arguments = [orjson.loads(call["function"]["arguments"]) for call in streamed]
    assert arguments == [{"city": "Paris"}, {"city": "Rome"}]
    message = answer.data["choices"][0]["message"]
    assert message["content"] is None
    assert [call["type"] for call in message["tool_calls"]] == ["function", "function"]
    assert all("index" not in call for call in message["tool_calls"])
    assert answer.finish_reason == "tool_calls"


async def test_the_servers_own_id_of_a_call_is_kept() -> None:
    call = {"id": "call_abc", "function": {"index": 0, "name": "f", "arguments": {}}}
    said = {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": True}
    async with bench() as b:
        b.upstream.script = json(said)
        answer = await b.generate(messages=user("x"))
    (made,) = answer.data["choices"][0]["message"]["tool_calls"]
    assert made == {
        "id": "call_abc", "type": "function", "function": {"name": "f", "arguments": "{}"},
    }  # fmt: skip


async def test_token_probabilities_of_a_chat() -> None:
    async with bench() as b:
        found = await b.stream(messages=user("a é"), logprobs=True, top_logprobs=2, stream=True)
        answer = await b.generate(messages=user("a é"), logprobs=True, top_logprobs=2)
    streamed = [e for c in choices(found) if c["logprobs"] for e in c["logprobs"]["content"]]
    assert streamed == answer.data["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in streamed] == ["a", " é"]
    assert streamed[1]["bytes"] == [32, 195, 169]
    assert [other["token"] for other in streamed[0]["top_logprobs"]] == ["a", "x"]


async def test_token_probabilities_of_a_text() -> None:
    async with bench() as b:
        found = await b.stream("text", text="ab c d", logprobs=0, stream=True)
        answer = await b.generate("text", text="ab c d", logprobs=2)
    offsets = [o for c in choices(found) if c["logprobs"] for o in c["logprobs"]["text_offset"]]
    made = answer.data["choices"][0]["logprobs"]
    assert offsets == made["text_offset"] == [0, 2, 4]
    assert made["tokens"] == ["ab", " c", " d"]
    assert made["token_logprobs"] == [-0.5, -0.5, -0.5]
    assert made["top_logprobs"][0] == {"ab": -0.5, "x": -2.0}


async def test_an_error_line_follows_the_text_before_it() -> None:
    said: list[str] = []

    async def read(kernel: Kernel) -> None:
        params = {"model": CHATTY, "messages": user("do break"), "stream": True}
        async with kernel.stream("chat", params) as answer:
            async for chunk in answer:
                said.extend([chunk.text])

    async with relay() as (kernel, _):
        with pytest.raises(UpstreamBadResponse, match=BROKEN):
            await read(kernel)
    assert said == ["do"]


@pytest.mark.parametrize("how", ["stream", "generate"])
async def test_what_ollama_says_of_a_failure_is_told(how: str) -> None:
    async with bench() as b:
        ask = getattr(b, how)
        with pytest.raises(UpstreamBadResponse) as gone:
            await ask(messages=user("gone"))
        with pytest.raises(UpstreamRejected) as unknown:
            await ask(messages=user("x"), model="nowhere")
        with pytest.raises(ContextTooLong) as long:
            await ask(messages=user("a " * 5000))
    assert NO_MEMORY in gone.value.message
    assert unknown.value.status == 404
    assert unknown.value.code == "model_not_found"
    assert unknown.value.message == "model 'nowhere' not found"
    assert (long.value.status, long.value.message) == (400, TOO_LONG)


async def test_a_prompt_that_is_too_long_is_known_in_mid_stream_too() -> None:
    async with bench() as b:
        b.upstream.script = stream([orjson.dumps({"error": TOO_LONG})], content_type=JSON_LINES)
        with pytest.raises(ContextTooLong):
            await b.stream(messages=user("x"))


async def test_a_key_is_cut_out_of_errors() -> None:
    async with bench(":None:SECRET-KEY") as b:
        b.upstream.script = json({"error": "no such SECRET-KEY"}, 400)
        with pytest.raises(RelayError) as caught:
            await b.generate(messages=user("x"))
    assert "SECRET" not in caught.value.message
    assert b.upstream.requests[-1].headers["authorization"] == "Bearer SECRET-KEY"


SAID = b'{"message":{"role":"assistant","content":"Hi"},"done":false}\n'
END = b'{"message":{"role":"assistant","content":""},"done":true}'


async def test_a_last_line_without_a_line_break_and_a_reason_is_an_end() -> None:
    async with bench() as b:
        b.upstream.script = stream([SAID, b"\r\n", END], content_type=JSON_LINES)
        found = await b.stream(messages=user("x"))
    assert (text_of(found), reasons(found)) == ("Hi", ["stop"])


async def test_the_rest_after_the_end_is_not_waited_for() -> None:
    async with bench() as b:
        b.upstream.script = stream([SAID, END + b"\n", SAID], content_type=JSON_LINES)
        found = await b.stream(messages=user("x"))
        await asyncio.sleep(0.05)  # the rest arrives, and the connection is free
        assert await b.stream(messages=user("x"))
        assert b.upstream.accepted == 1
    assert text_of(found) == "Hi"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([SAID], UpstreamIncomplete),
        ([SAID, b'{"message":{"role"'], UpstreamIncomplete),
        ([], UpstreamIncomplete),
        ([b"<html>"], UpstreamBadResponse),
        ([SAID, b"[1]\n"], UpstreamBadResponse),
        ([SAID, b'{"done":false}\n'], UpstreamBadResponse),
        ([b'{"message":{"content":1},"done":false}\n'], UpstreamBadResponse),
        ([b'{"message":{"tool_calls":[{"function":{}}]}}\n'], UpstreamBadResponse),
        ([b'{"message":{"content":"x"},"logprobs":[1]}\n'], UpstreamBadResponse),
        ([b"x" * (4 * 2**20 + 1)], UpstreamResponseTooLarge),
    ],
)
async def test_what_is_no_stream_of_ollamas_is_an_error(
    pieces: list[bytes], error: type[RelayError]
) -> None:
    async with bench() as b:
        b.upstream.script = stream(pieces, content_type=JSON_LINES)
        with pytest.raises(error) as caught:
            await b.stream(messages=user("x"))
    assert type(caught.value) is error


async def test_a_whole_answer_that_is_not_done_is_incomplete() -> None:
    async with bench() as b:
        b.upstream.script = whole(SAID)
        with pytest.raises(UpstreamIncomplete):
            await b.generate(messages=user("x"))


async def test_an_error_with_status_200_is_an_error() -> None:
    async with bench() as b:
        b.upstream.script = json({"error": "out of luck"})
        with pytest.raises(UpstreamBadResponse, match="out of luck"):
            await b.generate(messages=user("x"))


async def test_a_rendered_chat_is_completed_as_text_and_shaped_as_chat() -> None:
    async with bench() as b:
        found = await b.stream(
            messages=user("hi"), prompt="[INST] hi [/INST] END x", stops=("END",), stop=["Q"],
            stream=True,
        )  # fmt: skip
    assert b.route == "/api/generate"
    assert (b.sent["prompt"], b.sent["raw"]) == ("[INST] hi [/INST] END x", True)
    assert b.sent["options"]["stop"] == ["Q", "END"]
    assert "messages" not in b.sent
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    assert text_of(found) == "[INST] hi [/INST]"


async def test_images_of_a_rendered_chat_are_refused() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    async with bench() as b:
        with pytest.raises(InvalidRequest, match="template"):
            await b.generate(messages=user([picture]), prompt="rendered")
    assert b.ollama.asked == []


@pytest.mark.parametrize("status", [200, 500])
async def test_addresses_of_ollamas_own_processes_are_not_told(status: int) -> None:
    text = 'Post "http://127.0.0.1:39573/completion": dial tcp 10.0.0.1:39573: refused'
    async with bench() as b:
        b.upstream.script = json({"error": text}, status)
        with pytest.raises(UpstreamBadResponse) as caught:
            await b.generate(messages=user("x"))
    assert 'Post "***": dial tcp ***: refused' in caught.value.message


@pytest.mark.parametrize(
    ("given", "reason"), [("length", "length"), ("load", "stop"), (7, "stop"), ("odd", "odd")]
)
async def test_reasons_of_an_end(given: object, reason: str) -> None:
    async with bench() as b:
        b.upstream.script = json({"response": "x", "done": True, "done_reason": given})
        assert (await b.generate("text", text="x")).finish_reason == reason


async def test_images_of_an_answer_are_passed_on() -> None:
    said = {"message": {"role": "assistant", "content": "", "images": ["AAAA"]}, "done": True}
    async with bench() as b:
        b.upstream.script = json(said)
        answer = await b.generate(messages=user("draw"))
    assert answer.data["choices"][0]["message"]["images"] == ["AAAA"]
