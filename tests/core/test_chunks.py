"""Chunks and completions: bytes kept as they are, read when asked."""

from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Chunk, Completion


def raw(*events: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_several_events() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    events = [
        choice(role="assistant", content=""),
        choice(content="a"),
        choice(1, content="not mine"),
        choice(content="b", reasoning_content="why"),
        choice(reasoning=" not"),
        choice(1, "length"),
        choice(finish="stop"),
        {"choices": [], "usage": usage},
    ]
    chunk = Chunk(raw(*events))
    assert chunk.events() == events
    assert chunk.payloads() == [orjson.dumps(event) for event in events]
    assert (chunk.text, chunk.reasoning, chunk.finish_reason) == ("ab", "why not", "stop")
    assert chunk.usage == usage
    assert Chunk(raw(choice(content="a"))).usage is None
    assert Chunk(raw(choice(content="a"))).finish_reason is None
    assert (Chunk(b"").text, Chunk(b"").events()) == ("", [])


@pytest.mark.parametrize(
    "event",
    [
        choice(content=None),
        choice(content=["a"]),
        choice(reasoning_content=5, reasoning=["x"]),
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": None, "text": None}]},
        {"choices": None},
        {"choices": [], "usage": "much"},
        {"choices": [], "usage": ["much"]},
        {},
    ],
)
def test_odd_shapes_say_nothing(event: dict[str, Any]) -> None:
    chunk = Chunk(raw(event))
    assert (chunk.text, chunk.reasoning, chunk.finish_reason, chunk.usage) == ("", "", None, None)


def test_what_is_not_json() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        Chunk(b"data: x\n\n").events()


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_made_chunks_read_like_any_other(kind: str) -> None:
    made = [
        Chunk.of("a\n\nb", id="i", model="m", kind=kind),
        Chunk.of("", id="i", model="m", kind=kind, finish_reason="stop"),
        Chunk.of(None, id="i", model="m", kind=kind, usage={"total_tokens": 1}),
        Chunk.of("c", id="i", model="m", kind=kind, index=1),
    ]
    for chunk in made:
        assert Chunk(chunk.raw).events() == chunk.events()
    assert [chunk.text for chunk in made] == ["a\n\nb", "", "", ""]
    assert [chunk.finish_reason for chunk in made] == [None, "stop", None, None]
    assert made[2].events()[0]["choices"] == []
    assert made[2].usage == {"total_tokens": 1}
    assert made[3].events()[0]["choices"][0]["index"] == 1
    event = made[0].events()[0]
    assert event["object"] == ("chat.completion.chunk" if kind == "chat" else "text_completion")
    assert (event["id"], event["model"]) == ("i", "m")
    assert isinstance(event["created"], int)


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_made_completions(kind: str) -> None:
    made = Completion.of(
        ["a", "b"],
        id="i",
        model="m",
        kind=kind,
        finish_reasons=["length"],
        usage={"total_tokens": 1},
    )
    again = Completion(made.body)
    assert again.data == made.data
    assert (again.text, again.finish_reason, again.usage) == ("a", "length", {"total_tokens": 1})
    assert [c["finish_reason"] for c in again.data["choices"]] == ["length", "stop"]
    assert Completion.of(["a"], id="i", model="m").usage is None


@pytest.mark.parametrize("choices", [[], [{}], None, [{"message": {}}], [{"message": None}]])
def test_completions_without_a_text(choices: Any) -> None:
    completion = Completion(orjson.dumps({"choices": choices}))
    assert (completion.text, completion.finish_reason, completion.usage) == ("", None, None)
