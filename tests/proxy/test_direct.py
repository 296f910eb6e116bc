"""Pieces that are like the ones before them go from one connection to the other at once."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

import pytest

from h2o_relay.answer import Answer
from h2o_relay.http_connection import Connection
from h2o_relay.testing.scripts import each, event, hang, play, sse, stream
from h2o_relay.testing.upstream import until

from .kit import MODEL, assert_cut, assert_intact, chat, post, relay, said

COUNT = 40
PIECES = said(COUNT)
ERROR = b'{"error":{"message":"out of memory","code":500}}'
CHUNK = re.compile(rb"[0-9a-fA-F]+\r\ndata: [^\n]*\n\n\r\n")
Taker = Callable[[bytes], bool]
Frames = Callable[[bytes], bytes]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went by at once: events, and chunks of them."""
    seen: list[bytes] = []
    offer = Connection.offer

    def watched(self: Connection, taker: Taker, frames: Frames | None = None) -> None:
        def take(data: bytes) -> bool:
            good = taker(data)
            if good:
                seen.append(data)
            return good

        def take_frames(data: bytes) -> bytes:
            assert frames is not None
            rest = frames(data)
            assert data.endswith(rest)
            seen.extend(CHUNK.findall(data[: len(data) - len(rest)]))
            return rest

        offer(self, take, None if frames is None else take_frames)

    monkeypatch.setattr(Connection, "offer", watched)
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


def cut(rng: random.Random, steps: list[bytes]) -> list[bytes]:
    """Some of them together, some in two."""
    parts = [b""]
    for step in steps:
        place = rng.randrange(len(step)) if rng.random() < 0.2 else 0
        parts[-1] += step[:place]
        if rng.random() < 0.8:
            parts.append(b"")
        parts[-1] += step[place:]
    return [part for part in parts if part]


@pytest.mark.parametrize("model", ["mine", MODEL])
async def test_random_cuts(taken: list[bytes], model: str) -> None:
    """Chunks in pieces, and several of them in one, for one name of the model and another."""
    named = [piece.replace(b'{"id"', b'{"model":"%b","id"' % MODEL.encode()) for piece in PIECES]
    told = [p.replace(b'"model":"%b"' % MODEL.encode(), b'"model":"%b"' % model.encode())
            for p in named]  # fmt: skip
    beginning, *steps, end = sse(named).steps
    rng = random.Random(7)
    for _ in range(6):
        parts = cut(rng, [step for step in steps if isinstance(step, bytes)])
        script = play(beginning, *parts, end).paced(0.004)
        async with relay(script, servers=[("vllm_chat:{url}/v1", model)]) as running:
            assert_intact(await running.ask(post({**chat(), "model": model})), told)
    assert taken


async def test_a_caller_who_knows_no_chunks(taken: list[bytes]) -> None:
    async with relay(sse(PIECES).paced(0.01)) as running, running.client() as client:
        await client.send(post(chat()).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        async with asyncio.timeout(20):
            answer = await client.reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"".join(map(event, [*PIECES, b"[DONE]"]))
    assert taken


async def test_requests_one_behind_the_other(taken: list[bytes]) -> None:
    async with relay(sse(PIECES).paced(0.005)) as running, running.client() as client:
        await client.send(post(chat()) * 2)
        for _ in range(2):
            assert_intact(await client.reply(), PIECES)
    assert len(taken) > COUNT


async def test_a_caller_who_goes_in_between(taken: list[bytes]) -> None:
    async with relay(sse(said(400)).paced(0.005)) as running:
        async with running.client() as client:
            await client.send(post(chat()))
            await until(lambda: len(taken) > 3, within=5)
        await running.hang_up()
        await until(lambda: not running.connections, within=5)
        running.plays(sse(PIECES))
        assert_intact(await running.ask(post(chat())), PIECES)


async def test_a_server_that_falls_silent_after_them(taken: list[bytes]) -> None:
    """Each of them winds the clock between bytes: together they take longer than it has."""
    pieces = said(COUNT, None)
    *steps, _, _ = sse(pieces).steps
    async with relay(play(*steps, hang).paced(0.04), idle_timeout=0.8) as running:
        reply = await running.ask(post(chat()))
    assert_cut(reply, pieces, "idle_timeout")
    assert len(taken) > COUNT / 2
