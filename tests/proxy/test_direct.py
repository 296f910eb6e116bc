"""Pieces that are like the ones before them go from one connection to the other at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h2o_relay import openai_shape
from h2o_relay.answer import Answer
from h2o_relay.testing.scripts import each, event, play, sse, stream

from .kit import MODEL, assert_cut, assert_intact, chat, post, relay, said

COUNT = 40
PIECES = said(COUNT)
ERROR = b'{"error":{"message":"out of memory","code":500}}'
Taker = Callable[[bytes], bool]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went by at once."""
    seen: list[bytes] = []
    passed = openai_shape.passed

    def watched(*about: object) -> Taker:
        taker = passed(*about)  # type: ignore[arg-type]

        def take(data: bytes) -> bool:
            if not taker(data):
                return False
            seen.append(data)
            return True

        return take

    monkeypatch.setattr(openai_shape, "passed", watched)
    return seen


async def test_nearly_all_of_a_stream(taken: list[bytes]) -> None:
    async with relay(sse(PIECES).paced(0.01)) as running:
        assert_intact(await running.ask(post(chat())), PIECES)
        (view,) = running.kernel.deployments()
        assert view.tokens == COUNT + 1  # counted by pieces: this server counts none
    assert len(taken) > COUNT / 2  # some come together, and those are looked at


async def test_pieces_that_come_together(taken: list[bytes]) -> None:
    """As a busy relay finds them: three HTTP chunks in a segment."""
    beginning, *steps, last, done, end = sse(PIECES).steps
    threes = [b"".join(steps[at : at + 3]) for at in range(0, len(steps), 3)]  # type: ignore[arg-type]
    async with relay(play(beginning, *threes, last, done, end).paced(0.01)) as running:
        assert_intact(await running.ask(post(chat())), PIECES)
    assert len(taken) > COUNT / 2


async def test_they_have_the_name_that_was_asked_for(taken: list[bytes]) -> None:
    named = [piece.replace(b'{"id"', b'{"model":"%b","id"' % MODEL.encode()) for piece in PIECES]
    async with relay(sse(named).paced(0.01), servers=[("vllm_chat:{url}/v1", "mine")]) as running:
        reply = await running.ask(post({**chat(), "model": "mine"}))
    assert_intact(reply, [p.replace(b'"model":"%b"' % MODEL.encode(), b'"model":"mine"')
                          for p in named])  # fmt: skip
    assert taken


@pytest.mark.parametrize("end", [ERROR, b"{", b"[]", b'{"choices":[{"delta":5}]}'])
async def test_what_is_wrong_after_them_ends_the_answer(taken: list[bytes], end: bytes) -> None:
    pieces = said(COUNT, None)
    async with relay(sse([*pieces, end]).paced(0.01)) as running:
        reply = await running.ask(post(chat()))
    assert_cut(reply, pieces, "upstream_bad_response")
    assert taken


async def test_the_end_may_come_with_the_last_of_them(taken: list[bytes]) -> None:
    """One segment: a piece like the others, and the end of the message; no finish reason."""
    pieces = said(COUNT, None)
    *steps, last, end = stream([*map(event, pieces)]).steps
    assert isinstance(last, bytes)
    assert isinstance(end, bytes)
    async with relay(play(*steps, last + end).paced(0.01)) as running:
        assert_cut(await running.ask(post(chat())), pieces, "upstream_incomplete")
    assert taken


@pytest.mark.parametrize("size", [1, 7, 90, 200, 1000])
async def test_all_bytes_are_as_without(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    async with relay(sse(PIECES).recut(each(size))) as running:
        direct = await running.ask(post(chat()))
        monkeypatch.setattr(Answer, "onto", lambda *_: None)
        turned = await running.ask(post(chat()))
    assert direct.body == turned.body
    assert_intact(direct, PIECES)
