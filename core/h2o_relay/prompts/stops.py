"""Stop strings on our side: answers are cut at the earliest one, wherever chunks begin and end.

`StopCutter` sends text on as soon as it can no longer be part of a stop, or of a fragment that has
to go from the end, so that nothing sent is ever taken back; whatever the chunks are, all that it
returns is what one cut of the whole text would leave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from .catalog import by_name_or_number
from .prompt_type import PromptType

HOLD_LIMIT: Final = 256
"""Characters of fragments, one behind the other, that are held back; older ones are text."""


class StopCutter:
    """Cuts one answer while it is streamed. Feed it until `stopped`, then `finish` it.

    `endings` are texts that are removed from the end of an answer, again and again, but stay where
    more follows. `leading_space`: one space at the very beginning is no part of the answer.
    """

    def __init__(
        self,
        stops: Iterable[str],
        endings: Iterable[str] = (),
        *,
        leading_space: bool = False,
    ) -> None:
        self._stops = tuple(sorted({s for s in stops if s}, key=lambda s: (-len(s), s)))
        self._begins = _beginnings(self._stops)
        self._endings = tuple(dict.fromkeys(e for e in endings if e))
        self._most = max([HOLD_LIMIT, *map(len, (*self._stops, *self._endings))])
        self._held = ""
        self._drop_space = leading_space
        self._done = False
        self.stopped: str | None = None
        """The stop that ended the answer: of several at one place the longest."""

    @classmethod
    def of(cls, kind: PromptType, more_stops: Iterable[str] = ()) -> StopCutter:
        """For answers to a prompt of this type, and the caller's own stops."""
        return cls(
            (*kind.stops, *more_stops), kind.endings, leading_space=kind.generates_leading_space
        )

    def feed(self, text: str) -> str:
        """More of the answer; returns what can be sent now. Nothing counts after a stop."""
        if self._done:
            return ""
        if self._drop_space and text:
            self._drop_space = False
            text = text.removeprefix(" ")
        held = self._held + text
        places, stop = self._cuts(held)
        if stop is not None and len(places) == 1:
            self._done, self._held, self.stopped = True, "", stop
            return trimmed(held[: places[0]], self._endings)
        safe = len(held) if stop is not None else pending(held, self._endings)
        safe = min([safe, *(_trimmed_end(held, place, self._endings) for place in places)])
        safe = max(safe, len(held) - self._most)
        self._held = held[safe:]
        return held[:safe]

    def finish(self) -> str:
        """The answer has ended: returns the rest of it. A second call returns nothing."""
        if self._done:
            return ""
        held, self._held, self._done = self._held, "", True
        for match in self._begins.finditer(held):
            for stop in self._stops:
                if held.startswith(stop, match.start()):
                    self.stopped = stop
                    return trimmed(held[: match.start()], self._endings)
        return trimmed(held, self._endings)

    def _cuts(self, text: str) -> tuple[list[int], str | None]:
        """Where the answer may turn out to end, up to the first whole stop, and that stop.

        A single place with a stop is decided: whatever follows, nothing earlier or longer comes.
        """
        places: list[int] = []
        for match in self._begins.finditer(text):
            place = match.start()
            rest = text[place:] if self._stops and len(text) - place < len(self._stops[0]) else None
            if rest is not None and any(
                len(s) > len(rest) and s.startswith(rest) for s in self._stops
            ):
                places.append(place)
                if not self._endings:
                    return places, None
            for stop in self._stops:
                if text.startswith(stop, place):
                    # A longer one may still come to stand here: then this place counts twice.
                    return [*places, place], stop
        return places, None


def cut(
    text: str,
    stops: Iterable[str],
    endings: Iterable[str] = (),
    *,
    leading_space: bool = False,
) -> tuple[str, str | None]:
    """A whole answer up to its earliest stop, and that stop, if there is one."""
    cutter = StopCutter(stops, endings, leading_space=leading_space)
    return cutter.feed(text) + cutter.finish(), cutter.stopped


def fix_text(prompt_type: PromptType | str | int, text: str, final: bool) -> str:
    """An answer so far without a fragment of a stop at its end, as some models leave one.

    Which fragments those are is the prompt type's (`endings`). While the answer is not `final`,
    what may become such a fragment is left out, too: every result is the beginning of the next
    one. Idempotent; unlike h2oGPT's function of this name it removes fragments until none is left.
    """
    kind = prompt_type if isinstance(prompt_type, PromptType) else by_name_or_number(prompt_type)
    if final:
        return trimmed(text, kind.endings)
    end = len(text)
    while (before := pending(text, kind.endings, end)) < end:
        end = before
    return text[:end]


def trimmed(text: str, endings: Iterable[str]) -> str:
    """The text without any of these endings at its end."""
    return text[: _trimmed_end(text, len(text), tuple(endings))]


def pending(text: str, endings: Iterable[str], end: int | None = None) -> int:
    """From where on text[:end] consists of endings, the last of which may be incomplete."""
    known = tuple(endings)
    end = len(text) if end is None else end
    longest = max(map(len, known), default=0)
    starts, earliest, place = {end}, end, end
    while place > max(0, earliest - longest):
        place -= 1
        if any(
            e.startswith(text[place:end])
            if len(e) >= end - place
            else place + len(e) in starts and text.startswith(e, place)
            for e in known
        ):
            starts.add(place)
            earliest = place
    return earliest


def _trimmed_end(text: str, end: int, endings: tuple[str, ...]) -> int:
    """Where text[:end] ends without its endings."""
    while True:
        found = next((e for e in endings if text.endswith(e, 0, end)), None)
        if found is None:
            return end
        end -= len(found)


def _beginnings(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds the places where one of the texts can begin."""
    first = sorted({text[0] for text in texts if text})
    return re.compile("|".join(map(re.escape, first)) if first else r"(?!)")
