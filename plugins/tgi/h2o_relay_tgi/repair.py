"""What TGI's Messages API has said otherwise than OpenAI's, put right in place.

Up to 1.4 every object was a `text_completion` and finish reasons were TGI's own; up to 3.0 the tool
call of an event was no list, and its arguments in a whole answer no text; and a stop sequence is
left at the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from h2o_relay.prompts.stops import StopCutter, cut

from .answers import FINISH

OBJECTS = {"delta": "chat.completion.chunk", "message": "chat.completion"}


def repaired(data: dict[str, Any]) -> bool:
    """Put right an event or a whole answer; whether anything had to be."""
    before = orjson.dumps(data)
    for choice in _choices(data):
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            choice["finish_reason"] = FINISH.get(reason, reason)
        for name, said in OBJECTS.items():
            if isinstance(choice.get(name), dict):
                data["object"] = said
                _repair_calls(choice[name], streamed=name == "delta")
    return orjson.dumps(data) != before


def _repair_calls(message: dict[str, Any], *, streamed: bool) -> None:
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        calls = message["tool_calls"] = [calls]
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        if type(call.get("id")) is int:
            call["id"] = str(call["id"])
        function = call.get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict | list):
            function["arguments"] = orjson.dumps(function["arguments"]).decode()
        if isinstance(function, dict) and not streamed and function.get("description") is None:
            function.pop("description", None)


def cut_whole(data: dict[str, Any], stops: Sequence[str]) -> bool:
    """Cut each choice of a whole answer at its earliest stop; whether there was one."""
    changed = False
    for choice in _choices(data):
        message = choice.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str):
            continue
        shown, stop = cut(content, stops)
        if stop is not None:
            choice["message"]["content"], choice["finish_reason"] = shown, "stop"
            changed = True
    return changed


class StopsInEvents:
    """Cuts the text of a stream's events, one after the other. `over`: a stop sequence is there
    although the server goes on.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._cutter = StopCutter(stops)
        self.over = False

    def take(self, event: dict[str, Any]) -> None:
        """Cut what the event's choice says. A server that cannot do `n` has one choice only."""
        for choice in _choices(event):
            delta = choice.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            text = self._cutter.feed(content) if isinstance(content, str) else ""
            ended = choice.get("finish_reason")
            if ended:
                text += self._cutter.finish()
            if text or isinstance(content, str):
                choice["delta"] = {**(delta or {}), "content": text}
            if self._cutter.stopped is not None:
                self.over = not ended
                choice["finish_reason"] = "stop"


def _choices(data: dict[str, Any]) -> list[dict[str, Any]]:
    choices = data.get("choices")
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
