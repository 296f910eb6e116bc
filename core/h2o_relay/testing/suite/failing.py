"""What becomes of an upstream's refusals, broken promises and silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from ...errors import (
    FirstByteTimeout,
    IdleTimeout,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamRedirect,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from ...settings import Settings
from ..scripts import Action, Play, end, hang, play, redirect, reset, whole
from ..settings import quick
from ..upstream import Received
from .base import TEXTS, Relay, SuiteBase, said

ANSWER = "".join(TEXTS)
STATUSES: Mapping[int, tuple[type[RelayError], int]] = {
    400: (UpstreamRejected, 400),
    401: (UpstreamAuthError, 502),
    403: (UpstreamAuthError, 502),
    404: (UpstreamRejected, 404),
    408: (UpstreamTimeout, 504),
    413: (UpstreamRejected, 413),
    422: (UpstreamRejected, 422),
    429: (RateLimited, 429),
    500: (UpstreamBadResponse, 502),
    502: (UpstreamBadResponse, 502),
    503: (UpstreamUnavailable, 503),
    504: (UpstreamTimeout, 504),
}
MESSAGE = "the reason is in here"
IMPATIENT = quick(idle_timeout=0.2, first_byte_timeout=0.2, answer_timeout=0.2)  # seconds
BOUND = 4.0
"""Seconds in which one of these ends an answer, on a machine that stalls: less than those of other
settings."""


class FailingTests(SuiteBase):
    statuses: ClassVar[Mapping[int, tuple[type[RelayError], int]]] = STATUSES
    """An upstream's status: the error it becomes, and that error's own status."""

    @pytest.mark.parametrize("how", ["generate", "stream"])
    @pytest.mark.parametrize("status", list(STATUSES))
    async def test_a_status_becomes_its_error(self, status: int, how: str) -> None:
        wanted, own = self.statuses[status]
        refusal = self.speaks.refusal(status, MESSAGE, {"retry-after": "7"})
        async with self.relay(lambda _: refusal) as relay:
            error = await _failure(relay, how)
        assert type(error) is wanted
        assert error.status == own
        if status in (429, 503):
            assert error.retry_after == 7
        if own == status and own < 500:
            assert MESSAGE in error.message

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_a_refusal_that_breaks_off_is_what_its_status_says(self, how: str) -> None:
        cut = play(self.speaks.refusal(503, MESSAGE).wire[:-9], end)
        async with self.relay(lambda _: cut) as relay:
            error = await _failure(relay, how)
        assert type(error) is self.statuses[503][0]

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_what_is_not_an_answer_is_an_error(self, how: str) -> None:
        page = whole(b"<html><body>It works!</body></html>", content_type="text/html")
        for answer in (
            page,
            whole(b""),
            whole(b'{"choices": "none"}'),
            play(b"HELLO\r\n\r\n", end),
        ):
            async with self.relay(lambda _, answer=answer: answer) as relay:  # type: ignore[misc]
                error = await _failure(relay, how)
            assert isinstance(error, UpstreamError), answer
            assert "<html>" not in error.message

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_a_redirect_is_not_followed(self, how: str) -> None:
        async with self.relay(lambda request: redirect(request.path)) as relay:
            error = await _failure(relay, how)
            assert len(relay.asked) == 1
        assert isinstance(error, UpstreamRedirect)

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_silence_before_the_head_times_out(self, how: str) -> None:
        async with self.relay(lambda _: play(hang), settings=IMPATIENT) as relay:
            error = await asyncio.wait_for(_failure(relay, how), BOUND)
        assert isinstance(error, UpstreamTimeout)
        if how == "stream":
            assert isinstance(error, FirstByteTimeout)

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_a_connection_reset_at_once(self, how: str) -> None:
        async with self.relay(lambda _: play(reset)) as relay:
            assert isinstance(await _failure(relay, how), UpstreamDisconnected)

    async def test_an_error_in_mid_stream_follows_the_text(self) -> None:
        async with self.relay(lambda r: self.speaks.failing(r, TEXTS, MESSAGE)) as relay:
            text, error = await _broken(relay)
        assert text == ANSWER
        assert isinstance(error, UpstreamBadResponse)
        assert MESSAGE in error.message

    async def test_a_truncated_stream_is_an_error(self) -> None:
        text, error = await self._spoilt_stream(lambda good: good.upto(3) + play(end))
        assert _began(text)
        assert isinstance(error, UpstreamDisconnected | UpstreamIncomplete)

    async def test_a_stream_cut_within_a_piece_is_an_error(self) -> None:
        def halve(whole: Play) -> Play:
            *first, last = whole.upto(4).steps
            assert isinstance(last, bytes)
            return play(*first, last[: len(last) // 2], end)

        text, error = await self._spoilt_stream(halve)
        assert _began(text)
        assert isinstance(error, UpstreamDisconnected | UpstreamIncomplete)

    async def test_a_reset_stream_is_an_error(self) -> None:
        text, error = await self._spoilt_stream(lambda good: good.upto(3) + play(reset))
        assert _began(text)
        assert isinstance(error, UpstreamDisconnected)

    async def test_a_stalled_stream_times_out(self) -> None:
        spoil = self._spoilt_stream(lambda good: good.upto(3) + play(hang), settings=IMPATIENT)
        text, error = await asyncio.wait_for(spoil, BOUND)
        assert _began(text)
        assert isinstance(error, IdleTimeout)

    async def test_an_answer_without_a_finish_reason_is_incomplete(self) -> None:
        if not self.capabilities().finishes:
            pytest.skip("the server is declared to end its answers without a finish reason")
        async with self.relay(lambda r: self.speaks.reply(r, TEXTS, None)) as relay:
            text, error = await _broken(relay)
        assert text == ANSWER
        assert isinstance(error, UpstreamIncomplete)

    @pytest.mark.parametrize("ending", [end, reset])
    async def test_a_whole_answer_cut_short_is_an_error(self, ending: Action) -> None:
        def cut_short(request: Received) -> Play:
            # The last third is missing, however the answer is framed.
            wire = self.speaks.reply(request, TEXTS).wire
            return play(wire[: len(wire) * 2 // 3], ending)

        async with self.relay(cut_short) as relay:
            error = await _failure(relay, "generate")
        assert isinstance(error, UpstreamDisconnected | UpstreamIncomplete)

    async def test_a_stalled_whole_answer_times_out(self) -> None:
        def stall(request: Received) -> Play:
            wire = self.speaks.reply(request, TEXTS).wire
            return play(wire[: len(wire) * 2 // 3], hang)

        async with self.relay(stall, settings=IMPATIENT) as relay:
            error = await asyncio.wait_for(_failure(relay, "generate"), BOUND)
        assert isinstance(error, UpstreamTimeout)

    async def test_a_relay_works_on_after_failures(self) -> None:
        spoilt = [
            lambda whole: whole.upto(2) + play(reset),
            lambda whole: whole.upto(2) + play(end),
        ]

        def reply(request: Received) -> Play:
            good = self.speaks.reply(request, TEXTS)
            return spoilt.pop(0)(good) if spoilt else good

        async with self.relay(reply) as relay:
            await relay.stream_to_error()
            await relay.stream_to_error()
            assert not spoilt
            assert said(await relay.stream()) == ANSWER
            assert (await relay.generate()).text == ANSWER

    async def _spoilt_stream(
        self, spoil: Callable[[Play], Play], settings: Settings | None = None
    ) -> tuple[str, RelayError]:
        async with self.relay(
            lambda r: spoil(self.speaks.reply(r, TEXTS)), settings=settings
        ) as relay:
            return await _broken(relay)


async def _failure(relay: Relay, how: str) -> RelayError:
    """The error of an answer of which nothing may arrive."""
    if how == "stream":
        chunks, error = await relay.stream_to_error()
        assert chunks == []
        assert error is not None, "the stream did not fail"
        return error
    with pytest.raises(RelayError) as caught:
        await relay.generate()
    return caught.value


async def _broken(relay: Relay) -> tuple[str, RelayError]:
    """The text that arrived before a stream's error, and the error."""
    chunks, error = await relay.stream_to_error()
    assert error is not None, f"the stream did not fail after {said(chunks)!r}"
    assert not any(item.finish_reason for item in chunks)
    return said(chunks), error


def _began(text: str) -> bool:
    return bool(text) and text != ANSWER and ANSWER.startswith(text)
