"""How Gradio servers talk, byte for byte, written after gradio 6.31 (`routes.py`) and what
gradio_client 2.7.2 reads. A call is a POST that puts it into the queue and a GET that listens; the
suite's faults go to the GET, which carries the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from h2o_relay.testing.scripts import LAST, Play, chunk, json, play, stream
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.testing.wire import Wire

EVENT = "0123456789abcdef"


def component(number: int, kind: str, **props: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "skip_api": kind == "state", "props": props}


def dependency(
    number: int, name: str, inputs: Sequence[int], outputs: Sequence[int], queue: bool = True
) -> dict[str, Any]:
    return {"id": number, "api_name": name, "inputs": list(inputs), "outputs": list(outputs),
            "queue": queue, "show_api": True, "cancels": []}  # fmt: skip


def h2ogpt_config(version: str, protocol: str, prefix: str = "") -> dict[str, Any]:
    """A /config with h2oGPT's endpoints; as there, states stand before the visible argument."""
    return {
        "version": version,
        "protocol": protocol,
        **({"api_prefix": prefix} if prefix else {}),
        "mode": "blocks",
        "title": "h2oGPT",
        "components": [component(1, "state"), component(2, "textbox"), component(3, "textbox")],
        "dependencies": [
            dependency(0, "submit_nochat_api", [1, 2], [3]),
            dependency(1, "submit_nochat_plain_api", [2], [3], queue=False),
            dependency(2, "model_names", [], [3], queue=False),
        ],
    }


def told(texts: Sequence[str], complete: bool) -> list[str]:
    """h2oGPT's answers: each has the whole text so far, the last one the rest of the fields too."""
    found, text = [], ""
    for piece in texts:
        text += piece
        found.append(repr({"response": text, "error": "", "sources": [], "save_dict": {}}))
    if complete:
        extra = {"num_prompt_tokens": 3, "ntokens": len(texts)}
        found.append(
            repr({"response": text, "error": "", "sources": [], "save_dict": {"extra_dict": extra}})
        )
    return found


def named(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def message(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"msg": kind, "event_id": EVENT, **fields}) + b"\n\n"


@dataclass(frozen=True, slots=True)
class Housekeeping(Play):
    """Answers whatever is not a piece of an answer: /config, joining, cancelling, listing."""

    config: dict[str, Any] | None = None
    names: tuple[str, ...] = ()

    async def __call__(self, request: Received, answer: Answer) -> None:
        path = request.path.partition("?")[0]
        if path == "/config":
            found: Any = self.config
        elif path.endswith(("/run/model_names", "/call/model_names")):
            listed = [{"display_name": name, "base_model": name} for name in self.names]
            found = {"data": [repr(listed)]}
        elif path.endswith(("/cancel", "/reset")):
            found = {"success": True}
        else:
            found = {"event_id": EVENT}
        await json(found)(request, answer)


class CallWire(Wire):
    """Gradio 5 and 6: /call/NAME and /call/NAME/EVENT_ID."""

    config = h2ogpt_config("6.31.0", "sse_v3", "/gradio_api")

    def is_listing(self, request: Received) -> bool:
        """Everything but listening to an answer."""
        return request.method == "POST" or request.path == "/config"

    def listing(self, names: Sequence[str]) -> Play:
        return Housekeeping((), self.config, tuple(names))

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        return stream(self.events(texts, finish is not None))

    def events(self, texts: Sequence[str], complete: bool) -> list[bytes]:
        answers = told(texts, complete)
        pieces = [named("generating", [answer]) for answer in answers]
        if complete:
            pieces[-1] = named("complete", [answers[-1]])
        return pieces

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return json({"detail": message}, status, headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        pieces = self.events(texts, complete=False)
        return stream(pieces).upto(len(pieces)) + play(chunk(self.failure(message)), LAST)

    def failure(self, text: str) -> bytes:
        return named("error", {"error": text})


class QueueWire(CallWire):
    """Gradio 4: /queue/join and /queue/data, with differences."""

    config = h2ogpt_config("4.44.1", "sse_v3")
    patches = True

    def events(self, texts: Sequence[str], complete: bool) -> list[bytes]:
        answers = told(texts, complete)
        pieces = [
            message("process_generating", output={"data": [self._data(at, answer)]}, success=True)
            for at, answer in enumerate(answers)
        ]
        if complete:
            pieces[-1] = message(
                "process_completed", output={"data": [answers[-1]]}, success=True
            ) + message("close_stream")
        return pieces

    def _data(self, at: int, answer: str) -> Any:
        return [["replace", [], answer]] if at and self.patches else answer

    def failure(self, text: str) -> bytes:
        return message("process_completed", output={"error": text}, success=False)


class WholeQueueWire(QueueWire):
    """The first Gradio 4 with this queue: every message has the whole output."""

    config = h2ogpt_config("4.8.0", "sse_v1")
    patches = False
