"""Fitting into the context: oldest turns first, system and last turn kept, few counts."""

from collections.abc import Sequence
from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import ContextTooLong
from h2o_relay.prompts.fit import Count, estimate, fit
from h2o_relay.prompts.messages import Message
from h2o_relay.prompts.render import Rendered, render


async def rendered(messages: Sequence[Message]) -> Rendered:
    return render("zephyr", messages, system_prompt="")


class Words:
    """A tokenizer whose tokens are words."""

    def __init__(self, answers: bool = True) -> None:
        self.calls = 0
        self.answers = answers

    async def __call__(self, text: str) -> int | None:
        self.calls += 1
        return len(text.split()) if self.answers else None


def talk(turns: int, words: int = 20, system: str | None = "Be brief.") -> list[dict[str, Any]]:
    said = [{"role": "system", "content": system}] if system else []
    for number in range(turns):
        said.append({"role": "user", "content": f"question{number} " + "why " * words})
        said.append({"role": "assistant", "content": f"answer{number} " + "so " * words})
    return [*said, {"role": "user", "content": "last"}]


async def test_what_fits_is_left_alone_and_not_counted_by_the_server() -> None:
    count = Words()
    messages = talk(2)
    done = await fit(messages, rendered, count, limit=4096, reserve=512)
    assert (list(done.messages), done.dropped) == (messages, 0)
    assert (count.calls, done.estimated) == (0, True)
    assert done.prompt == (await rendered(messages)).prompt


async def test_the_oldest_turns_go_first() -> None:
    count = Words()
    done = await fit(talk(30), rendered, count, limit=300, reserve=50)
    contents = [message["content"].split()[0] for message in done.messages]
    assert contents[0] == "Be"
    assert contents[-3:] == ["question29", "answer29", "last"]
    assert contents[1].startswith("question")
    assert done.dropped == 62 - len(contents)
    assert done.tokens <= 250
    assert not done.estimated
    # One more turn would have been too much.
    more = talk(30)[-len(contents) - 1 :]
    assert len((await rendered([talk(30)[0], *more])).prompt.split()) > 250


@given(turns=st.integers(0, 40), words=st.integers(0, 30), limit=st.integers(20, 2000))
async def test_as_much_as_fits_and_few_counts(turns: int, words: int, limit: int) -> None:
    count = Words()
    messages = talk(turns, words)
    try:
        done = await fit(messages, rendered, count, limit)
    except ContextTooLong:
        assert len((await rendered([messages[0], messages[-1]])).prompt.split()) > limit
        return
    assert count.calls <= log2(turns + 1) + 2
    assert done.messages[0] == messages[0]
    kept = list(done.messages[1:])
    assert kept == messages[len(messages) - len(kept) :]
    assert done.dropped % 2 == 0
    assert len(done.prompt.split()) <= limit
    if done.dropped:
        more = messages[len(messages) - len(kept) - 2 :]
        assert len((await rendered([messages[0], *more])).prompt.split()) > limit


async def test_a_call_of_a_tool_keeps_its_result() -> None:
    messages: list[dict[str, Any]] = [
        *talk(5),
        {"role": "assistant", "content": "calling"},
        {"role": "tool", "content": "result"},
    ]
    done = await fit(messages, rendered, Words(), limit=40)
    assert [m["content"] for m in done.messages] == ["Be brief.", "last", "calling", "result"]


async def test_not_even_the_last_turn_fits() -> None:
    with pytest.raises(ContextTooLong, match="has 30 tokens, of which 26 are kept") as caught:
        await fit(talk(4), rendered, Words(), limit=30, reserve=26)
    assert (caught.value.param, caught.value.status) == ("messages", 400)
    with pytest.raises(ContextTooLong, match="still have about"):
        await fit(talk(4), rendered, None, limit=10)


@pytest.mark.parametrize("count", [None, Words(answers=False)])
async def test_without_a_tokenizer_it_is_estimated_and_said_so(count: Count | None) -> None:
    done = await fit(talk(30), rendered, count, limit=300)
    assert done.estimated
    assert 0 < done.dropped < 60
    assert done.tokens == estimate(done.prompt) <= 300
    assert len(done.prompt.split()) < 300


def test_the_estimate_is_on_the_safe_side() -> None:
    # Counts of public tokenizers: 9 tokens for this sentence in GPT-2's and in Llama 2's.
    assert estimate("The quick brown fox jumps over the lazy dog") >= 11
    assert estimate("") == 8
    assert estimate("深度学习") >= 4 + 8
    assert estimate("a" * 3500) == 1108
