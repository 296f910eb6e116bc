"""Translated pieces that are like the ones before them go to the caller at once, too."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

import h2o_relay_ollama.exchange
from h2o_relay.answer import Answer
from h2o_relay.testing.scripts import Play, reset, stream
from h2o_relay.testing.upstream import Answer as Upstream
from h2o_relay.testing.upstream import Received, until
from h2o_relay.types import Direct
from h2o_relay_ollama.at_once import framed, taking

from .kit import Relay, assert_cut, post, relay
from .raw_client import Reply

COUNT = 40
WORDS = [f" word{n} é\n" if n % 3 else f" word{n}" for n in range(COUNT)]
OLLAMA = [("ollama:{url}", "mine")]
ASKED = {"model": "mine", "messages": [{"role": "user", "content": "hi"}], "stream": True}
USAGE = {"prompt_tokens": 3, "completion_tokens": 41, "total_tokens": 44}


def line(text: str, **last: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    said = {"model": "m", "created_at": "2026-11-22T20:00:00Z", "message": message, "done": False}
    return orjson.dumps({**said, **last}) + b"\n"


DONE = line("", done=True, done_reason="stop", prompt_eval_count=3, eval_count=41)
PIECES = [*map(line, WORDS), DONE]


def answer(lines: list[bytes]) -> Play:
    return stream(lines, content_type="application/x-ndjson")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events went by at once, each time."""
    counts: list[int] = []

    def watched(direct: Direct, *about: Any) -> Any:
        def counting(data: bytes, events: int = 1, /) -> bool:
            if not direct(data, events):
                return False
            counts.append(events)
            return True

        return taking(counting, *about)

    def also(*about: Any) -> Any:
        take = framed(*about)
        if take is None:
            return None

        def counting(data: bytes) -> bytes:
            rest: bytes = take(data)
            counts.extend([1] * (len(rest) < len(data)))
            return rest

        return counting

    monkeypatch.setattr(h2o_relay_ollama.exchange, "taking", watched)
    monkeypatch.setattr(h2o_relay_ollama.exchange, "framed", also)
    return counts


def words(reply: Reply) -> list[str]:
    """What the answer's events bring, one after the other."""
    events = [orjson.loads(payload) for payload in reply.payloads if payload != b"[DONE]"]
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_whole_answer(
    taken: list[int], monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The words, the name that was asked for, what it used, and how it is counted, either way."""
    if not at_once:
        monkeypatch.setattr(Answer, "onto", lambda *_: None)
    async with relay(answer(PIECES).paced(0.01), servers=OLLAMA) as running:
        options = {"stream_options": {"include_usage": True}}
        reply = await running.ask(post({**ASKED, **options}))
        (view,) = running.kernel.deployments()
        assert view.tokens == USAGE["completion_tokens"]
    assert reply.complete
    assert words(reply) == WORDS
    *_, last, end = reply.payloads
    assert (orjson.loads(last)["usage"], end) == (USAGE, b"[DONE]")
    assert orjson.loads(last)["model"] == "mine"
    assert (sum(taken) > COUNT / 2) is at_once


async def test_each_line_counts(taken: list[int]) -> None:
    """Also where several came together and no usage is asked for."""
    threes = [b"".join(PIECES[at : at + 3]) for at in range(1, COUNT + 1, 3)]
    script = answer([PIECES[0], *threes]).paced(0.01)
    async with relay(script, servers=OLLAMA) as running:
        reply = await running.ask(post(ASKED))
        (view,) = running.kernel.deployments()
        assert view.tokens > COUNT / 2
    assert words(reply) == WORDS
    assert 3 in taken


async def test_an_answer_that_breaks_off(taken: list[int]) -> None:
    script = answer(PIECES[:-1]).upto(COUNT).paced(0.01) + Play((reset,))
    async with relay(script, servers=OLLAMA) as running:
        reply = await running.ask(post(ASKED))
    assert_cut(reply, reply.payloads[:-1], "upstream_disconnected")
    assert words_before_error(reply) == WORDS
    assert taken


async def test_an_error_line(taken: list[int]) -> None:
    script = answer([*PIECES[:-1], b'{"error":"out of memory"}\n']).paced(0.01)
    async with relay(script, servers=OLLAMA) as running:
        reply = await running.ask(post(ASKED))
    assert words_before_error(reply) == WORDS
    assert orjson.loads(reply.payloads[-1])["error"]["message"]
    assert b"[DONE]" not in reply.body
    assert taken


def words_before_error(reply: Reply) -> list[str]:
    events = [orjson.loads(payload) for payload in reply.payloads]
    assert [("error" in event) for event in events] == [False] * (len(events) - 1) + [True]
    return [event["choices"][0]["delta"]["content"] for event in events[:-1]]


class Flood:
    """Writes lines as fast as it is let, then ends the answer if it is told to."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0

    async def __call__(self, request: Received, upstream: Upstream) -> None:
        head, first, done, end = answer([line("x" * 8000), DONE]).steps
        assert isinstance(head, bytes)
        assert isinstance(first, bytes)
        await upstream.send(head)
        for _ in range(self.count):
            await upstream.send(first)
            self.sent += 1
            if self.sent < 4:
                await asyncio.sleep(0.05)
        await Play((done, end))(request, upstream)

    async def stalls(self) -> None:
        """Wait until nothing moves any more."""
        last = -1
        async with asyncio.timeout(20):
            while self.sent != last:
                last = self.sent
                await asyncio.sleep(0.2)


async def begun(running: Relay, client: Any, flood: Flood) -> None:
    await client.send(post(ASKED))
    await until(lambda: flood.sent, within=5)
    await flood.stalls()


async def test_a_slow_reader_holds_the_server_back_and_loses_nothing(taken: list[int]) -> None:
    flood = Flood(4000)
    async with (
        relay(flood, servers=OLLAMA, write_timeout=30) as running,
        running.client(receive_buffer=4096) as client,
    ):
        await begun(running, client, flood)
        assert taken
        assert flood.sent < flood.count
        reply = await client.reply()
    assert reply.complete
    assert words(reply) == ["x" * 8000] * flood.count


async def test_a_caller_who_leaves_ends_the_servers_work(taken: list[int]) -> None:
    flood = Flood(10**6)
    async with relay(flood, servers=OLLAMA, write_timeout=30) as running:
        async with running.client(receive_buffer=4096) as client:
            await begun(running, client, flood)
            client.reset()
            await running.calm(within=5)
        assert running.upstream.gone
    assert taken
