"""Gradio's differences between one output and the next (protocols `sse_v2` and later).

An output is a list of edits `[action, path, value]`; actions and meaning are those of `apply_diff`
in gradio_client 2.7.2, `utils.py`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from h2o_relay.errors import UpstreamBadResponse


class Patched:
    """The outputs of one call, put together again: the first is whole, what follows are edits."""

    def __init__(self) -> None:
        self._values: list[Any] | None = None

    def feed(self, outputs: list[Any]) -> list[Any]:
        """The whole outputs after these edits. Raises UpstreamBadResponse if they do not fit."""
        if self._values is None:
            self._values = list(outputs)
            return self._values
        missing = len(outputs) - len(self._values)
        values = [*self._values, *[None] * max(missing, 0)]
        try:
            for index, edits in enumerate(outputs):
                for action, path, value in edits:
                    values[index] = _edited(values[index], list(path), action, value)
        except (TypeError, ValueError, KeyError, IndexError):
            raise UpstreamBadResponse(
                "the Gradio server sent a change that fits nothing it sent before"
            ) from None
        self._values = values
        return values


def _edited(target: Any, path: list[Any], action: str, value: Any) -> Any:
    """The target with one edit at the end of `path`; the target itself stays as it is."""
    if not path:
        if action == "replace":
            return value
        if action == "append":
            return target + value
        raise ValueError(action)
    changed = deepcopy(target)
    place = changed
    for step in path[:-1]:
        place = place[step]
    last = path[-1]
    if action == "replace":
        place[last] = value
    elif action == "append":
        place[last] += value
    elif action == "add" and isinstance(place, list):
        place.insert(int(last), value)
    elif action == "add":
        place[last] = value
    elif action == "delete":
        del place[int(last) if isinstance(place, list) else last]
    else:
        raise ValueError(action)
    return changed
