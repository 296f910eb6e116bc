"""One prediction, from its creation to its end or to its cancellation.

Source: Replicate's HTTP API reference, `predictions.create`, `.get`, `.cancel`, and its guides to
the life of a prediction and to streaming. A prediction runs on, and is paid for, when its reader
leaves, so whoever leaves early cancels it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.errors import (
    MESSAGE_LIMIT,
    FirstByteTimeout,
    IdleTimeout,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    from_error_object,
)

from .api import Api

OVER = frozenset({"succeeded", "failed", "canceled", "aborted"})
LONGEST_PAUSE = 5.0  # seconds between looks at a prediction that says nothing new
GROWTH = 1.3
SETTLING = (0.0, 0.1, 0.3, 0.6)  # seconds before looks at a prediction whose stream has ended
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for: `path` is where predictions of this model are created, `instead` where
    they are if the server does not know that path."""

    path: str
    body: Mapping[str, Any]
    instead: tuple[str, Mapping[str, Any]] | None = None
    wait: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: until the first text, without any more of it, between looks, to cancel."""

    first: float
    idle: float
    poll: float
    cancel: float


@dataclass(slots=True)
class Prediction:
    """A prediction as it was last seen."""

    state: dict[str, Any]
    ended: bool = False
    """It needs no cancelling any more."""
    urls: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        urls = self.state.get("urls")
        texts = urls.items() if isinstance(urls, dict) else ()
        self.urls = {name: url for name, url in texts if isinstance(url, str)}
        if not isinstance(self.state.get("id"), str) or "status" not in self.state:
            raise UpstreamBadResponse("the upstream server's answer is no prediction")
        self.see(self.state)

    @property
    def id(self) -> str:
        return str(self.state["id"])

    def url(self, name: str, path: str = "") -> str:
        """One of its URLs, by default below /predictions."""
        return self.urls.get(name) or f"/predictions/{self.id}{path}"

    def see(self, state: dict[str, Any]) -> None:
        self.state = state
        self.ended = self.ended or self.over

    @property
    def over(self) -> bool:
        return self.state.get("status") in OVER

    def text(self) -> str:
        """The output so far. Raises UpstreamBadResponse if it is no text."""
        output = self.state.get("output")
        pieces = output if isinstance(output, list) else [output] if output is not None else []
        if not all(isinstance(piece, str) for piece in pieces):
            raise UpstreamBadResponse("the model's output is no text")
        return "".join(pieces)

    def check(self, secret: str | None) -> None:
        """Raise the error that it ended with, if it did."""
        status = self.state.get("status")
        if status == "failed":
            raise failure(self.state.get("error"), secret)
        if status in ("canceled", "aborted"):
            raise UpstreamIncomplete(f"the prediction was {status} on the server")

    def count(self, name: str) -> int | None:
        metrics = self.state.get("metrics")
        value = metrics.get(name) if isinstance(metrics, dict) else None
        return value if type(value) is int else None

    def usage(self) -> dict[str, int] | None:
        """OpenAI's usage, where the prediction's metrics have both counts."""
        asked, answered = self.count("input_token_count"), self.count("output_token_count")
        if asked is None or answered is None:
            return None
        return {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }


def failure(error: Any, secret: str | None) -> RelayError:
    """The error that a prediction failed with: a text, or JSON with a `detail` in it."""
    try:
        found = orjson.loads(error) if isinstance(error, str) else error
    except orjson.JSONDecodeError:
        found = error
    if isinstance(found, dict):
        found = found.get("detail") or found.get("error") or found.get("message")
    text = found if isinstance(found, str) and found else "the prediction failed"
    return from_error_object({"message": text}, secret)


@asynccontextmanager
async def running(api: Api, order: Order, patience: Patience) -> AsyncIterator[Prediction]:
    """A new prediction, which is cancelled if it has not ended when the block is left.

    It is created in a task of its own: one whose caller leaves meanwhile must still be cancelled,
    and for that its id has to be waited for.
    """
    creating = asyncio.create_task(create(api, order))
    prediction: Prediction | None = None
    try:
        prediction = await asyncio.shield(creating)
        yield prediction
    finally:
        if prediction is None or not prediction.ended:
            await see_through(_stop(api, creating), patience.cancel)


async def create(api: Api, order: Order) -> Prediction:
    """Raises the error that fits. A 404 creates nothing: there the other path is tried."""
    try:
        return Prediction(await api.create(order.path, order.body, order.wait))
    except RelayError as error:
        if error.status != 404 or order.instead is None:
            raise
    path, body = order.instead
    return Prediction(await api.create(path, body, order.wait))


async def _stop(api: Api, creating: asyncio.Task[Prediction]) -> None:
    try:
        prediction = await creating
    except RelayError:
        return  # whoever asked for it was told, or has left; there is nothing to cancel
    if prediction.ended:
        return
    try:
        await api.cancel(prediction.url("cancel", "/cancel"))
    except RelayError as error:
        log.warning("prediction %s could not be cancelled: %s", prediction.id, error.message)


async def see_through(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Do it to its end, whoever cancels us meanwhile, but for at most so many seconds."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    deadline, cancelled = loop.time() + seconds, False
    while not task.done() and loop.time() < deadline:
        try:
            await asyncio.wait({task}, timeout=deadline - loop.time())
        except asyncio.CancelledError:
            cancelled = True
    if not task.done():
        log.warning("a prediction could not be cancelled within %g s", seconds)
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    if cancelled:
        raise asyncio.CancelledError


async def pieces(
    api: Api, prediction: Prediction, patience: Patience, secret: str | None
) -> AsyncGenerator[str, None]:
    """The output's text as it comes, streamed or, where there is no stream, by looking again."""
    stream = prediction.urls.get("stream")
    if prediction.over or stream is None:
        found = _polled(api, prediction, patience, secret)
    else:
        found = _streamed(api, stream, prediction, patience, secret)
    async with aclosing(found):
        async for piece in found:
            yield piece


async def _streamed(
    api: Api, url: str, prediction: Prediction, patience: Patience, secret: str | None
) -> AsyncGenerator[str, None]:
    reason: str | None = None
    events = api.events(url, patience.first, patience.idle)
    async with aclosing(events):
        async for kind, data in events:
            if kind == "output" and data:
                yield data
            elif kind == "error":
                raise failure(data, secret)
            elif kind == "done":
                prediction.ended, reason = True, _reason(data)
                break
    if not prediction.ended:
        raise UpstreamIncomplete("the prediction's stream ended before the prediction did")
    await _settle(api, prediction)
    prediction.check(secret)
    if reason is not None:
        raise UpstreamIncomplete(f"the prediction ended early: {reason}")


def _reason(done: str) -> str | None:
    """What a `done` event says that went wrong; it is an empty object if nothing did."""
    try:
        data = orjson.loads(done)
    except orjson.JSONDecodeError:
        return None
    reason = data.get("reason") if isinstance(data, dict) else None
    return reason[:MESSAGE_LIMIT] if isinstance(reason, str) else None


async def _settle(api: Api, prediction: Prediction) -> None:
    """Look how it ended: `done` is said of failed predictions too, and the metrics are here."""
    try:
        for pause in SETTLING:
            await asyncio.sleep(pause)
            prediction.see(await api.get(prediction.url("get")))
            if prediction.over:
                return
    except RelayError as error:
        # The answer is whole all the same; what is missing is its usage.
        log.warning("prediction %s: how it ended is not known: %s", prediction.id, error.message)


async def _polled(
    api: Api, prediction: Prediction, patience: Patience, secret: str | None
) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    said, pause, heard = "", patience.poll, loop.time()
    while True:
        text = prediction.text()
        if not text.startswith(said):
            raise UpstreamBadResponse("the model changed the output that it had given")
        if len(text) > len(said):
            yield text[len(said) :]
            said, pause, heard = text, patience.poll, loop.time()
        if prediction.over:
            prediction.check(secret)
            return
        _check_patience(loop.time() - heard, said, patience)
        await asyncio.sleep(pause)
        pause = min(pause * GROWTH, max(LONGEST_PAUSE, patience.poll))
        try:
            prediction.see(await api.get(prediction.url("get")))
        except RateLimited as error:
            pause = max(pause, min(error.retry_after or 0.0, patience.idle))


def _check_patience(silence: float, said: str, patience: Patience) -> None:
    if said and silence > patience.idle:
        raise IdleTimeout(f"the prediction gave no more output for {patience.idle:g} s")
    if not said and silence > patience.first:
        raise FirstByteTimeout(f"the prediction gave no output within {patience.first:g} s")
