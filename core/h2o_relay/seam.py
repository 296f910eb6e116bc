"""Where a stream goes on at another server: no character lost or doubled, no stop missed."""

from __future__ import annotations

from collections.abc import Sequence

from .prompts.stops import StopCutter


class Seam:
    """Joins what a server says to what was `said` before.

    `repeated` is the end of that which the server was not given, and will say again unless it
    chooses other words. A stop string that began before the seam is seen by no server; what may
    become one is held back until that is known.
    """

    def __init__(self, said: str, repeated: str, stops: Sequence[str]) -> None:
        self._repeated = repeated
        longest = max(map(len, stops), default=0)
        tail = said[max(0, len(said) - longest + 1) :] if longest > 1 else ""
        self._cutter: StopCutter | None = StopCutter(stops) if tail else None
        self._seam = len(tail)
        self._out = 0
        self.stopped = False
        """A stop string across the seam has ended the answer."""
        if self._cutter is not None:
            self._out = len(self._cutter.feed(tail))
            if self._cutter.stopped is not None or self._out >= self._seam:
                self._cutter = None  # none begins there, or the server before took none for one

    def join(self, text: str, final: bool) -> str:
        """What of the next text can be sent; `final` says that it is the last."""
        if self._repeated and text:
            text = self._new(text)
        cutter = self._cutter
        if cutter is None:
            return text
        before = self._out
        new = cutter.feed(text)
        self._out += len(new)
        if cutter.stopped is None and (final or self._out >= self._seam):
            self._cutter = None  # what is held now began after the seam: that the server sees
            new += cutter.finish()
        self.stopped = cutter.stopped is not None
        return new[max(0, self._seam - before) :]

    def _new(self, text: str) -> str:
        """The text without what repeats, character for character, the end of what was said."""
        same = 0
        for ours, theirs in zip(self._repeated, text, strict=False):
            if ours != theirs:
                self._repeated = ""
                return text[same:]
            same += 1
        self._repeated = self._repeated[same:]
        return text[same:]
