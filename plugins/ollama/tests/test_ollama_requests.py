"""What Ollama is sent for a request in OpenAI's terms, checked field by field by the stand-in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import h2o_relay_ollama
from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Server, Tuning

from .ollama_kit import bench, relay, user
from .ollama_standin import CHATTY

PIXEL = "iVBORw0KGgoAAAANSUhEUg=="
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "It.", "parameters": {"type": "object"}},
}


async def sent(kind: Any = "chat", **params: Any) -> Any:
    """The body that the stand-in got, and accepted as documented."""
    async with bench() as b:
        given = {"messages": user("hi")} if kind == "chat" else {"text": "hi"}
        await b.generate(kind, **{**given, **params})
        return b.sent


async def test_the_plainest_chat_byte_for_byte() -> None:
    async with bench() as b:
        await b.generate(messages=user("hi"))
        (request,) = b.upstream.requests
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.body == (
        b'{"model":"llama3.2:latest","stream":false,"messages":[{"role":"user","content":"hi"}],'
        b'"truncate":false,"shift":false}'
    )


async def test_the_plainest_text_byte_for_byte() -> None:
    async with bench() as b:
        await b.stream("text", text="hi", stream=True)
        (request,) = b.upstream.requests
    assert (request.method, request.path) == ("POST", "/api/generate")
    assert request.body == (
        b'{"model":"llama3.2:latest","stream":true,"prompt":"hi","raw":true,'
        b'"truncate":false,"shift":false}'
    )


async def test_sampling_becomes_options() -> None:
    same = {
        "temperature": 0, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "typical_p": 0.7, "seed": 7,
        "presence_penalty": 1.5, "frequency_penalty": 1.0, "repeat_penalty": 1.2,
        "repeat_last_n": 33,
    }  # fmt: skip
    body = await sent(**same, max_tokens=100, stop=["\n", "user:", "\n"], n=None, top_logprobs=None)
    assert body["options"] == {**same, "num_predict": 100, "stop": ["\n", "user:"]}
    assert (await sent(stop="END", repetition_penalty=1.1))["options"] == {
        "stop": ["END"], "repeat_penalty": 1.1,
    }  # fmt: skip
    assert "options" not in await sent(temperature=None, stop=None, max_tokens=None)


async def test_the_context_is_what_the_operator_set() -> None:
    body = await sent(tuning=Tuning(max_seq_len=8192), temperature=1)
    assert body["options"] == {"temperature": 1, "num_ctx": 8192}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "none"}, False),
        ({"think": True}, True),
        ({"think": False, "reasoning_effort": "high"}, False),
        ({"think": "max"}, "max"),
        ({}, None),
    ],
)
async def test_thinking(asked: dict[str, Any], expected: Any) -> None:
    assert (await sent(**asked)).get("think") == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": {"type": "text"}}, None),
        ({"format": "json"}, "json"),
        (
            {"response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
            }},
            {"type": "object"},
        ),
    ],
)  # fmt: skip
async def test_formats(asked: dict[str, Any], expected: Any) -> None:
    assert (await sent(**asked)).get("format") == expected
    assert (await sent("text", **asked)).get("format") == expected


async def test_how_long_a_model_stays_is_the_callers_or_the_operators() -> None:
    assert (await sent(keep_alive="10m"))["keep_alive"] == "10m"
    for option, expected in (("10m", "10m"), ("-1", -1), ("300", 300)):
        async with bench(keep_alive=option) as b:
            await b.generate(messages=user("hi"))
            assert b.sent["keep_alive"] == expected
            await b.generate(messages=user("hi"), keep_alive=0)
            assert b.sent["keep_alive"] == 0


async def test_nothing_is_left_out_of_a_long_chat_unless_that_is_wanted() -> None:
    assert (await sent(shift=True))["shift"] is True
    async with bench(truncate="true") as b:
        await b.generate(messages=user("word " * 5000))
        assert {"truncate", "shift"}.isdisjoint(b.sent)
        await b.generate(messages=user("hi"), truncate=False)
        assert b.sent["truncate"] is False


async def test_a_suffix_goes_through_the_models_template() -> None:
    body = await sent("text", suffix="return")
    assert (body["suffix"], body["raw"]) == ("return", False)
    assert (await sent("text", raw=False))["raw"] is False


async def test_probabilities_are_asked_for_by_either_apis_fields() -> None:
    assert (await sent(logprobs=True, top_logprobs=3))["top_logprobs"] == 3
    text = await sent("text", logprobs=2)
    assert (text["logprobs"], text["top_logprobs"]) == (True, 2)
    assert "top_logprobs" not in await sent("text", logprobs=0)
    assert "logprobs" not in await sent(logprobs=False)


async def test_a_conversation_with_tools() -> None:
    body = await sent(
        tools=[TOOL],
        tool_choice="auto",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Weather?", "name": "kim"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "H"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "22"}]},
            {"role": "tool", "tool_call_id": "c2", "name": "other", "content": "?"},
        ],
    )
    assert body["tools"] == [TOOL]
    called = {"index": 0, "name": "weather", "arguments": {"a": 1}}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "thinking": "H",
         "tool_calls": [{"id": "c1", "function": called}]},
        {"role": "tool", "content": "22", "tool_name": "weather", "tool_call_id": "c1"},
        {"role": "tool", "content": "?", "tool_name": "other", "tool_call_id": "c2"},
    ]  # fmt: skip
    assert "tools" not in await sent(tools=[TOOL], tool_choice="none")


async def test_images_are_sent_as_their_base64() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "text", "text": "this?"},
        {"type": "image_url", "image_url": f"data:;base64,{PIXEL}"},
    ]
    (message,) = (await sent(messages=user(parts)))["messages"]
    assert message == {"role": "user", "content": "What is\nthis?", "images": [PIXEL, PIXEL]}


def picture(url: Any) -> dict[str, Any]:
    return {"messages": user([{"type": "image_url", "image_url": {"url": url}}])}


@pytest.mark.parametrize(
    ("kind", "params", "param"),
    [
        ("chat", picture("https://example.com/cat.png"), "messages[0].content[0].image_url.url"),
        ("chat", picture("data:image/svg+xml,<svg/>"), "messages[0].content[0].image_url.url"),
        ("chat", picture(3), "messages[0].content[0].image_url.url"),
        ("chat", {"messages": user([{"type": "input_audio"}])}, "messages[0].content[0]"),
        ("chat", {"messages": user(5)}, "messages[0].content"),
        ("chat", {"messages": [{"role": "owl", "content": ""}]}, "messages[0].role"),
        ("chat", {"messages": ["hi"]}, "messages[0]"),
        ("chat", {"messages": []}, "messages"),
        (
            "chat",
            {"messages": [{"role": "assistant", "tool_calls": [
                {"function": {"name": "f", "arguments": "{not json"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ("chat", {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ("chat", {"response_format": {"type": "json_schema"}}, "response_format"),
        ("chat", {"stop": [1]}, "stop"),
        ("text", {"text": ""}, "prompt"),
        ("text", {"text": ["one", "two"]}, "prompt"),
        ("text", {"text": [1, 2]}, "prompt"),
    ],
)  # fmt: skip
async def test_what_ollama_cannot_do_is_refused_before_it_is_asked(
    kind: Any, params: dict[str, Any], param: str
) -> None:
    async with bench() as b:
        with pytest.raises(InvalidRequest) as caught:
            await b.generate(kind, **{"messages": user("hi"), **params})
        assert b.upstream.requests == []
    assert caught.value.param == param
    assert caught.value.status == 400


async def test_fields_that_ollama_does_not_know_are_reported() -> None:
    async with relay() as (kernel, ollama):
        params = {"model": CHATTY, "messages": user("hi"), "n": 1, "user": "kim", "top_k": 3}
        completion = await kernel.generate("chat", {**params, "logit_bias": {}})
    assert set(completion.dropped) == {"n", "user", "logit_bias"}
    assert ollama.asked[-1][1]["options"] == {"top_k": 3}


def test_every_declared_field_changes_what_is_sent() -> None:
    """No field is declared and then left out."""
    values: dict[str, Any] = {
        "format": "json", "keep_alive": 1, "logprobs": True, "max_completion_tokens": 1,
        "max_tokens": 1, "messages": user("other"), "prompt": "other", "raw": False,
        "reasoning_effort": "low", "repetition_penalty": 2.0,
        "response_format": {"type": "json_object"}, "shift": True, "stop": "x", "suffix": "x",
        "think": True, "tools": [TOOL], "truncate": True,
    }  # fmt: skip
    told_elsewhere = {"model", "stream", "stream_options"}
    only_with = {"top_logprobs": {"logprobs": True}, "tool_choice": {"tools": [TOOL]}}
    values |= {"top_logprobs": 2, "tool_choice": "none"}
    server = Server(plugin="ollama", url="http://h")
    for name in h2o_relay_ollama.CAPABILITIES.fields - told_elsewhere:
        value = values.get(name, 0.25)
        kind: Any = "text" if name in ("prompt", "raw", "suffix") else "chat"
        base = {"messages": user("hi"), "prompt": "hi", **only_with.get(name, {})}
        assert body_of(server, kind, base) != body_of(server, kind, {**base, name: value}), name


def body_of(server: Server, kind: Any, params: dict[str, Any]) -> Any:
    from h2o_relay.types import Deployment, Request
    from h2o_relay_ollama.body import order

    deployment = Deployment(name="m", server=server, model="m")
    request = Request(kind=kind, params=params, body=None, deployment=deployment)
    return orjson.loads(order(server, request, stream=False)[1])
