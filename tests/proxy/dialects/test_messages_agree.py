"""Whatever a server streams: whole answers agree with it, and what is none is an error."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import UpstreamBadResponse

from .messages_kit import (
    PROMPTED,
    accumulated,
    answered,
    assembled,
    check_grammar,
    chunks,
    event,
    grown,
    streamed,
    told,
)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
INPUTS = st.none() | st.dictionaries(WORDS, VALUES, max_size=4)


def split(rng: random.Random, text: str) -> list[str]:
    """A text in pieces of one to four characters."""
    pieces = []
    while text:
        size = rng.randint(1, 4)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def deltas(
    rng: random.Random, thought: str, said: str, inputs: list[dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """An answer's deltas, those of its calls in any order."""
    found: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in split(rng, thought)]
    found += [{"content": piece} for piece in split(rng, said)]
    rest = [split(rng, "" if one is None else orjson.dumps(one).decode()) for one in inputs]
    for number in range(len(inputs)):
        found.append(grown(number, id=f"call_{number}", name="look"))
        for _ in range(rng.randint(0, 8)):
            going = [n for n, pieces in enumerate(rest[: number + 1]) if pieces]
            if going:
                which = rng.choice(going)
                found.append(grown(which, rest[which].pop(0)))
    while going := [n for n, pieces in enumerate(rest) if pieces]:
        which = rng.choice(going)
        found.append(grown(which, rest[which].pop(0)))
    return found


@given(
    thought=st.text(max_size=12), said=st.text(max_size=12), inputs=st.lists(INPUTS, max_size=4),
    finish=st.sampled_from(["stop", "tool_calls", "length"]), together=st.integers(1, 5),
    rng=st.randoms(use_true_random=False),
)  # fmt: skip
async def test_streamed_and_whole_agree(
    thought: str, said: str, inputs: list[dict[str, Any] | None], finish: str, together: int,
    rng: random.Random,
) -> None:  # fmt: skip
    events = [event(delta) for delta in deltas(rng, thought, said, inputs)]
    given_chunks = chunks([*events, event({}, finish), event(usage=PROMPTED)], together)
    stream = streamed(given_chunks)
    check_grammar(stream)
    found = accumulated(stream).to_dict()
    wanted = told(await assembled(given_chunks)).to_dict()
    assert str(found.pop("id")).startswith("msg_")
    assert str(wanted.pop("id")).startswith("msg_")
    assert found.pop("stop_details") is None
    assert found == wanted
    assert [b["input"] for b in wanted["content"] if b["type"] == "tool_use"] == [  # type: ignore[attr-defined]
        one or {} for one in inputs
    ]


FIELDS = ["id", "index", "function", "name", "arguments", "type", "text", "thinking"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(0, 1) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)
DELTAS = st.dictionaries(
    st.sampled_from(["content", "reasoning", "reasoning_content", "refusal", "tool_calls"]), JUNK
)


@given(found=st.lists(DELTAS, max_size=6), finish=JUNK, usage=JUNK)
def test_what_a_server_makes_up_is_an_answer_or_its_error(
    found: list[dict[str, Any]], finish: Any, usage: Any
) -> None:
    """Never a traceback; and a stream that ends is one that the SDK can read."""
    try:
        stream = streamed(chunks([*(event(delta, finish) for delta in found), event(usage=usage)]))
    except UpstreamBadResponse:
        return
    check_grammar(stream)


@given(message=DELTAS, finish=JUNK)
def test_the_same_of_whole_answers(message: dict[str, Any], finish: Any) -> None:
    with contextlib.suppress(UpstreamBadResponse):
        told(answered(message, finish))
