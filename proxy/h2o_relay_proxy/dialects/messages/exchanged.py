"""One request of /messages and its answer."""

from __future__ import annotations

from typing import Any

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import RelayError

from .answer import new_id, whole
from .errors import error_event
from .events import Events
from .request import read


class Message:
    """`Exchanged` for Anthropic's Messages. The answer has the model's name as the caller wrote it;
    where it wrote none, or a number, the server's.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        """Raises InvalidRequest."""
        found = read(params)
        self.params, self.dropped, self.names = found.params, found.dropped, found.names
        model = params.get("model")
        self._model = model if isinstance(model, str) else None
        self._stops = found.stops
        self._id = new_id("msg_")
        self._events = Events(self._id, self._model, self._stops)

    def whole(self, completion: Completion) -> bytes:
        return whole(completion, self._id, self._model, self._stops)

    def begin(self) -> bytes:
        """Nothing yet: the first chunk may say what `message_start` has to."""
        return b""

    def chunk(self, chunk: Chunk) -> bytes:
        return self._events.chunk(chunk)

    def end(self) -> bytes:
        return self._events.end()

    def failed(self, error: RelayError) -> bytes:
        return error_event(error)
