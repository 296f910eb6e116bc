"""Servers that break off at every place of an answer, and others that go on: the client sees one
answer, whole.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h2o_relay.chunks import END
from h2o_relay.errors import (
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from h2o_relay.testing.scripts import Action, Play, chunk, end, json, play, reset, stream
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Capabilities, Kind

from .resuming_kit import COUNTS, IDS, PLAIN, PROMPT, WHOLE, WORDS, Model, Servers, serving, texts
from .resuming_kit import undisturbed as whole_answer

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WAYS: list[tuple[Kind, Capabilities]] = [
    ("chat", PLAIN), ("chat", COUNTS), ("chat", IDS), ("text", PLAIN), ("text", COUNTS),
    ("text", IDS),
]  # fmt: skip


class Breaking(Model):
    """Gives so much of its answer."""

    def __init__(self, name: str, cut: Callable[[Play], Play], trims: bool = False) -> None:
        super().__init__(name, trims)
        self.cut = cut

    async def __call__(self, received: Received, answer: Answer) -> None:
        await self.cut(self.play(received))(received, answer)


def after(pieces: int, how: Action = end) -> Callable[[Play], Play]:
    return lambda whole: whole.upto(pieces) + play(how)


def after_bytes(count: int) -> Callable[[Play], Play]:
    def cut(whole: Play) -> Play:
        head = next(step for step in whole.steps if isinstance(step, bytes))
        return play(head, *([chunk(whole.body[:count])] if count else []), end)

    return cut


@pytest.mark.parametrize(("kind", "can"), WAYS)
async def test_after_every_event(kind: Kind, can: Capabilities) -> None:
    first = Breaking("first", after(0), trims=can.trims_text)
    second = Model("second", trims=can.trims_text)
    silent = 0 if kind == "chat" else -1  # the role comes first
    async with serving(first, second) as (http, urls):
        for count in range(1, len(WORDS) + silent + 2):
            first.cut = after(count)
            servers = Servers(http, urls, kind, can)
            events = await servers.events()
            whole_answer(events, kind, "first")
            assert servers.said.resumed == 1
            assert servers.said.text == WHOLE
            assert servers.said.tokens == len(WORDS)
            assert isinstance(servers.errors[0], UpstreamDisconnected)
            spent = {"prompt_tokens": 3, "completion_tokens": 11, "total_tokens": 14}
            assert events[-1]["usage"] == spent


@pytest.mark.parametrize(("kind", "can"), [("chat", PLAIN), ("text", IDS)])
async def test_after_every_byte(kind: Kind, can: Capabilities) -> None:
    first = Breaking("first", after(0))
    resumed = alone = 0
    async with serving(first, Model("second")) as (http, urls):
        size = len(first.play(Received("POST", kind, {}, _body(kind), 0)).body)
        for count in range(0, size, 3):
            first.cut = after_bytes(count)
            servers = Servers(http, urls, kind, can)
            try:
                events = await servers.events()
            except UpstreamDisconnected:
                assert not servers.said.begun
                alone += 1
                continue
            assert texts(events) == WHOLE
            assert [e["usage"]["completion_tokens"] for e in events if e.get("usage")] in ([11], [])
            resumed += servers.said.resumed
    assert alone > 10
    assert resumed > 100


def _body(kind: Kind) -> bytes:
    return b'{"messages":[{"role":"user"}]}' if kind == "chat" else b'{"prompt":"Say it: "}'


@pytest.mark.parametrize(("kind", "can"), WAYS)
async def test_a_server_for_every_word(kind: Kind, can: Capabilities) -> None:
    """The last one of many has little left to say; the first one's name is on it."""
    role = kind == "chat"
    several = [
        Breaking(f"server{n}", after(1 + role + bool(can.trims_text and role))) for n in range(5)
    ]
    async with serving(*several, Model("last")) as (http, urls):
        servers = Servers(http, urls, kind, can)
        events = await servers.events()
        whole_answer(events, kind, "server0")
        assert servers.said.resumed == 5
        assert events[-1]["usage"]["completion_tokens"] >= len(WORDS)
        assert events[-1]["usage"]["prompt_tokens"] == 3


async def test_the_limit_is_the_callers() -> None:
    async with serving(Breaking("a", after(4)), second := Model("b")) as (http, urls):
        servers = Servers(http, urls, "text", COUNTS)
        events = await servers.events(max_tokens=7)
        assert texts(events) == "".join(WORDS[:7])
        assert second.asked[0]["max_tokens"] == 3
        assert [c["finish_reason"] for e in events for c in e["choices"]][-1] == "length"
        assert events[-1]["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize("can", [COUNTS, IDS])
async def test_an_answer_that_lacks_only_its_end(can: Capabilities) -> None:
    """All its tokens came: the server that is gone would have said `length`."""
    async with serving(Breaking("a", after(5))) as (http, urls):
        servers = Servers(http, urls, "text", can)
        events = await servers.events(max_tokens=5)
        assert texts(events) == "".join(WORDS[:5])
        assert events[-1]["choices"][0]["finish_reason"] == "length"
        assert events[-1]["id"] == "a"
        assert servers.said.resumed == 0


async def test_a_limit_that_may_be_used_up_is_not_guessed() -> None:
    async with serving(Breaking("a", after(5)), Model("b")) as (http, urls):
        servers = Servers(http, urls, "text", PLAIN)
        with pytest.raises(UpstreamIncomplete, match="near the limit"):
            await servers.events(max_tokens=5)
        assert servers.said.text == "".join(WORDS[:5])


@pytest.mark.parametrize("how", [end, reset])
async def test_the_stream_ends_after_its_finish(how: Action) -> None:
    """Without usage and `[DONE]` it is whole all the same: nobody is asked again."""
    async with serving(Breaking("a", after(len(WORDS) + 1, how))) as (http, urls):
        servers = Servers(http, urls, "text", PLAIN)
        assert texts(await servers.events()) == WHOLE
        assert servers.said.finished
        assert not servers.errors


async def test_an_end_without_a_finish() -> None:
    """The framing is in order, the answer is not."""

    def cut(whole: Play) -> Play:
        return stream([piece + END for piece in whole.body.split(END)[:4]])

    async with serving(Breaking("a", cut), Model("b")) as (http, urls):
        servers = Servers(http, urls, "text", PLAIN)
        assert texts(await servers.events()) == WHOLE
        assert isinstance(servers.errors[0], UpstreamIncomplete)


async def test_what_the_next_server_says_no_to() -> None:
    """Its refusal is the end; what was said stays said."""
    busy = json({"error": {"message": "no room", "code": 503}}, status=503)
    async with serving(Breaking("a", after(3)), busy) as (http, urls):
        servers = Servers(http, urls, "text", PLAIN)
        with pytest.raises(UpstreamUnavailable):
            await servers.events()
        assert servers.said.text == "".join(WORDS[:3])
        assert servers.said.resumed == 1


async def test_a_first_server_that_is_not_there() -> None:
    """Nothing was said: that is a retry's business, not ours."""
    async with serving() as (http, _):
        servers = Servers(http, ["http://127.0.0.1:1"], "chat", PLAIN)
        with pytest.raises(UpstreamUnreachable):
            await servers.events()
        assert not servers.errors


async def test_who_leaves_early_closes_the_server_that_speaks() -> None:
    """`leaves_nothing` looks for what stays open."""

    def hangs(whole: Play) -> Play:
        return whole.upto(2) + play(Answer.hang)

    async with serving(Breaking("a", after(3)), Breaking("b", hangs)) as (http, urls):
        servers = Servers(http, urls, "text", PLAIN)
        answer = servers.ask()
        async for _ in answer:
            if servers.said.resumed:
                break
        await answer.aclose()
        assert WHOLE.startswith(servers.said.text)


def test_the_prompt_is_not_the_answer() -> None:
    assert not WHOLE.startswith(PROMPT)
