"""The plugin's pure parts: strings, messages, payloads, differences, events."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from typing import Any

import pytest

from h2o_relay.errors import (
    BadServerString,
    InvalidRequest,
    UpstreamBadResponse,
    UpstreamResponseTooLarge,
)
from h2o_relay.resolve import resolve
from h2o_relay.types import Deployment, Kind, Request, Server
from h2o_relay_gradio_remote import capabilities, chat, h2ogpt, parse
from h2o_relay_gradio_remote.app import read_config, version_of
from h2o_relay_gradio_remote.diffs import Patched
from h2o_relay_gradio_remote.messages import Turn, pairs, talk_of
from h2o_relay_gradio_remote.sse import Event, events
from h2o_relay_gradio_remote.update import Growth

SERVER = Server(plugin="gradio_remote", url="http://host", key="key-1234")


def ordered(kind: Kind = "chat", prompt: str | None = None, **params: Any) -> dict[str, Any]:
    """What h2oGPT is sent for a request; a chat has a message if none is given."""
    if kind == "chat":
        params = {"messages": [{"role": "user", "content": "Q"}], **params}
    deployment = Deployment(name="m", server=SERVER, model="m")
    request = Request(kind=kind, params=params, body=None, deployment=deployment, prompt=prompt)
    found = ast.literal_eval(h2ogpt.order(SERVER, request))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("text", "column"),
    [("gradio:", 8), ("gradio:host:99999", 13), ("gradio:http://host:99999", 20)],
)
def test_a_refusal_points_at_the_place(text: str, column: int) -> None:
    with pytest.raises(BadServerString) as caught:
        parse.parse(text)
    assert caught.value.column == column
    assert caught.value.shown == text
    assert caught.value.example.startswith("gradio:")


def test_a_string_is_shown_as_it_was_written() -> None:
    server = parse.parse("gradio:host:7860:ann:sesame")
    assert server is not None
    assert server.shown == "gradio:host:7860:***:***"


def test_a_prompt_that_is_rendered_goes_plain() -> None:
    for found in (ordered(prompt="<s>Q"), ordered("text", prompt="<s>Q", messages=[])):
        assert found["instruction_nochat"] == "<s>Q"
        assert found["prompt_type"] == "plain"
        assert found["chat_conversation"] == []
        assert found["system_prompt"] == ""


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0, "do_sample": False}),
        ({"temperature": 0.2}, {"temperature": 0.2, "do_sample": True}),
        ({"top_p": 0.5}, {"top_p": 0.5, "do_sample": True}),
        ({"top_k": 1}, {"top_k": 1, "do_sample": False}),
        ({"max_tokens": 5}, {"max_new_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_new_tokens": 6}),
        ({"max_tokens": None, "seed": None}, {}),
        ({"presence_penalty": 1}, {"repetition_penalty": 1.5}),
        ({"presence_penalty": -2}, {"repetition_penalty": 0.01}),
        ({"presence_penalty": 1, "repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"seed": 3, "max_time": 4}, {"seed": 3, "max_time": 4}),
        ({"visible_models": "other", "h2ogpt_key": "x", "model_lock": []}, {}),
    ],
)
def test_sampling_becomes_h2ogpts(params: dict[str, Any], sent: dict[str, Any]) -> None:
    base = ordered()
    assert base["visible_models"] == "m"
    assert base["h2ogpt_key"] == "key-1234"
    assert ordered(**params) == {**base, **sent}


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "presence_penalty", "seed"])
@pytest.mark.parametrize("value", ["1", True, [1], float("inf")])
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ordered(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize("prompt", [None, ["a", "b"], [1, 2], 5])
def test_only_one_text_is_a_prompt(prompt: Any) -> None:
    deployment = Deployment(name="m", server=SERVER, model="m")
    request = Request(kind="text", params={"prompt": prompt}, body=None, deployment=deployment)
    with pytest.raises(InvalidRequest):
        h2ogpt.order(SERVER, request)


@pytest.mark.parametrize("text", ["'", '"', "\\", "\n", "{x}", "\U0001f99c", "\x00", "a\ud800"])
def test_any_text_survives_the_literal(text: str) -> None:
    assert ordered(messages=[{"role": "user", "content": text}])["instruction_nochat"] == text


def test_a_conversation_is_taken_apart() -> None:
    talk = talk_of(
        [
            {"role": "system", "content": "A"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "one"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "t"}, {"type": "text", "text": "wo"}],
            },
            {"role": "assistant", "content": "three"},
            {"role": "developer", "content": "B"},
            {"role": "user", "content": "four"},
        ]
    )
    assert talk.system == "A\n\nB"
    assert talk.last == "four"
    assert pairs(talk.past) == [("", "hi"), ("one\n\ntwo", "three")]
    assert talk.past[1] == Turn("user", "one\n\ntwo")


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hello",
        ["hello"],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "tool", "content": "x"}],
        [{"role": "assistant", "content": "x"}],
        [{"role": "system", "content": "x"}],
        [
            {"role": "assistant", "content": "x", "tool_calls": [{}]},
            {"role": "user", "content": "x"},
        ],
    ],
)
def test_what_cannot_be_told_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidRequest):
        talk_of(messages)


def test_growth() -> None:
    growth = Growth()
    assert [growth.feed(text) for text in ("", "a", "a", "abc", "ab", "abcd")] == [
        "", "a", "", "bc", "", "d",
    ]  # fmt: skip
    assert growth.feed(" abcd\n", last=True) == ""
    for text, last in (("abX", False), ("abX", True), (" abcd", False)):
        with pytest.raises(UpstreamBadResponse):
            growth.feed(text, last)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        ({"role": "assistant", "content": "a"}, "a"),
        ({"text": "a", "files": []}, "a"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}]}], "a"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "a"),
        ([["q", "a"], ["r", "b"]], "b"),
        ([], ""),
    ],
)
def test_the_text_of_a_chats_answer(value: Any, text: str) -> None:
    assert chat.text_of(value) == text


def test_an_answer_that_is_no_text() -> None:
    with pytest.raises(UpstreamBadResponse):
        chat.text_of(5)


def test_an_operator_can_say_that_an_app_is_a_plain_chat() -> None:
    """By H2O_GRADIO_REMOTE_API, which the kernel puts among the server's options."""
    string = parse.parse("gradio:host:7860")
    assert string is not None
    chatting = resolve(string, None, {"H2O_GRADIO_REMOTE_API": "chat"})
    assert capabilities(chatting).fields == {"model", "messages", "stream", "stream_options"}
    assert capabilities(chatting).kinds == {"chat"}
    assert "temperature" in capabilities(resolve(string, None, {})).fields


DIFFS: list[tuple[Any, list[Any]]] = [
    ("Hel", [["append", [], "lo"]]),
    ("x", [["replace", [], "y"]]),
    (None, [["replace", [], [1]]]),
    ({"a": {"b": "x"}}, [["append", ["a", "b"], "y"], ["add", ["a", "c"], 5]]),
    ([{"content": "x"}], [["append", [0, "content"], "y"], ["add", [1], {"content": "z"}]]),
    ([1, 2, 3], [["delete", [1], None], ["replace", [0], 9]]),
    ({"a": 1, "b": 2}, [["delete", ["a"], None]]),
    ("same", []),
]


@pytest.mark.parametrize(("first", "edits"), DIFFS)
def test_differences_mean_what_gradios_own_client_makes_of_them(
    first: Any, edits: list[Any]
) -> None:
    utils = pytest.importorskip("gradio_client.utils")
    patched = Patched()
    assert patched.feed([first]) == [first]
    assert patched.feed([edits]) == [utils.apply_diff(first, edits)]


@pytest.mark.parametrize(
    "edits", [5, "xyz", [[]], [["append", [], 5]], [["swap", [], 1]], [["add", ["a", "b"], 1]]]
)
def test_differences_that_do_not_fit(edits: Any) -> None:
    patched = Patched()
    patched.feed(["text"])
    with pytest.raises(UpstreamBadResponse):
        patched.feed([edits])


class Body:
    """A response's body in these pieces."""

    def __init__(self, *data: bytes) -> None:
        self.data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.data:
            yield piece


async def read(*data: bytes, limit: int = 1000) -> list[Event]:
    return [event async for event in events(Body(*data), limit)]  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_events_may_be_cut_anywhere(end: bytes) -> None:
    wire = end.join([b"event: generating", b"data: [1]", b"", b": hm", b"", b"data:a", b"data: b",
                     b"id: 4", b"", b"data: lost"])  # fmt: skip
    wanted = [Event("generating", b"[1]"), Event("", b"a\nb")]
    for cut in range(len(wire) + 1):
        assert await read(wire[:cut], wire[cut:]) == wanted, cut
    assert await read(*(wire[i : i + 1] for i in range(len(wire)))) == wanted


@pytest.mark.parametrize("data", [[b"data: " + b"x" * 100 + b"\n\n"], [b"data: ", *[b"x" * 9] * 9]])
async def test_an_endless_event_is_refused(data: list[bytes]) -> None:
    with pytest.raises(UpstreamResponseTooLarge):
        await read(*data, limit=50)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4.44.1", (4, 44, 1)), ("5.0.0b3", (5, 0, 0)), ("dev", ()), (None, ()), (6, ())],
)
def test_versions(text: Any, numbers: tuple[int, ...]) -> None:
    assert version_of(text) == numbers


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"5", b'{"components": [], "dependencies": [{"inputs": [9]}]}']
)
def test_what_is_no_config(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        read_config(body)
