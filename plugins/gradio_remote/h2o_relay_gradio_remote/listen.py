"""Reading the answer of a queued call: two dialects of server-sent events, one kind of `Output`.

- `simple`: the events of /call/NAME/EVENT_ID, called `generating`, `complete`, `error` and
  `heartbeat`; each has the whole outputs so far (gradio 6.31 `routes.py`).
- `queued`: the messages of /queue/data with their kind in `msg`; from `sse_v2` on those in
  mid-answer hold differences (gradio_client 2.7.2 `utils.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import orjson

from h2o_relay.errors import (
    FirstByteTimeout,
    IdleTimeout,
    RelayError,
    UpstreamBadResponse,
    UpstreamUnavailable,
)
from h2o_relay.settings import Settings
from h2o_relay.types import Server

from .diffs import Patched
from .session import reported
from .sse import Event

SILENT = "the app failed without saying why; start it with show_error=True to see it"
PATCHING = frozenset({"sse_v2", "sse_v2.1", "sse_v3"})


class Output(NamedTuple):
    """What an endpoint gave so far: one value for each output; `last` on the final one, which has
    an `error` instead if the app failed.
    """

    values: list[Any]
    last: bool
    error: RelayError | None = None


class Patience:
    """Heartbeats must not hide that nothing else comes. Seconds as in the settings."""

    def __init__(self, settings: Settings) -> None:
        self._clock = asyncio.get_running_loop().time
        self._idle = settings.idle_timeout
        self._deadline = self._clock() + settings.first_byte_timeout
        self._begun = False

    def output(self) -> None:
        """A piece of the answer came."""
        self._begun = True
        self._deadline = self._clock() + self._idle

    def other(self) -> None:
        """Something else came. Raises FirstByteTimeout or IdleTimeout if that is so for long."""
        if self._clock() < self._deadline:
            return
        if self._begun:
            raise IdleTimeout("the Gradio server sends nothing but heartbeats")
        raise FirstByteTimeout("the Gradio server keeps the request waiting in its queue")


async def simple(
    events: AsyncIterator[Event], server: Server, patience: Patience
) -> AsyncIterator[Output]:
    """The outputs of a /call. Raises UpstreamBadResponse for what is not of this dialect."""
    async for event in events:
        if event.name not in ("generating", "complete", "error"):
            patience.other()
            continue
        patience.output()
        data = decoded(event.data)
        if event.name == "error":
            yield Output([], last=True, error=failure(server, data))
        else:
            yield Output(values(data), last=event.name == "complete")


async def queued(
    events: AsyncIterator[Event], server: Server, patience: Patience, event_id: str, protocol: str
) -> AsyncIterator[Output]:
    """The outputs of one call of a session's queue. Raises UpstreamBadResponse likewise."""
    patched = Patched() if protocol in PATCHING else None
    async for event in events:
        message = decoded(event.data)
        if not isinstance(message, dict):
            raise UpstreamBadResponse("the Gradio server sent a message of a wrong shape")
        if message.get("event_id") not in (None, event_id):
            continue  # another call of the same session
        found = next(_outputs(message, server, patched), None)
        if found is None:
            patience.other()
        else:
            patience.output()
            yield found


def _outputs(message: dict[str, Any], server: Server, patched: Patched | None) -> Iterator[Output]:
    """The output of a message, if it has one."""
    kind, output = message.get("msg"), message.get("output")
    failed = message.get("success") is False
    if kind == "process_completed":
        if failed:
            yield Output([], last=True, error=failure(server, output))
        else:
            yield Output(outputs(output), last=True)
    elif kind in ("process_generating", "process_streaming"):
        if failed:
            yield Output([], last=True, error=failure(server, output))
        else:
            given = outputs(output)
            yield Output(patched.feed(given) if patched else given, last=False)
    elif kind == "queue_full":
        yield Output([], True, UpstreamUnavailable("the Gradio server's queue is full"))
    elif kind in ("unexpected_error", "Server stopped unexpectedly."):
        yield Output([], last=True, error=failure(server, message.get("message")))


def decoded(body: bytes) -> Any:
    """JSON. Raises UpstreamBadResponse."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the Gradio server sent what is not JSON") from None


def outputs(output: Any) -> list[Any]:
    """The values of an answer `{"data": [...]}`. Raises UpstreamBadResponse."""
    return values(output.get("data") if isinstance(output, dict) else None)


def values(data: Any) -> list[Any]:
    """The values themselves, of which there must be one at least. Raises UpstreamBadResponse."""
    if not isinstance(data, list) or not data:
        raise UpstreamBadResponse("the Gradio server's answer has no data")
    return data


def failure(server: Server, said: Any) -> RelayError:
    """The error for a failed function: `{"error": text}`, a text, or null where the app was not
    started with `show_error`.
    """
    text = said.get("error") if isinstance(said, dict) else said
    return reported(server, text if isinstance(text, str) and text else SILENT)
