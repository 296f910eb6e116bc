"""How a page follows the columns of a comparison: one generator for all of them.

It shows what has grown since it last looked, and ends when nothing runs any more. What else is done
to the comparison meanwhile, on this page or another, it shows too: so a page has one at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from h2o_relay.errors import NotFound

from .column_view import Face, face, faces
from .comparison import Comparison, Setup
from .comparisons import Comparisons
from .turns import SAVED_WITHIN, Turn, paced

PACE = 0.06  # seconds between two looks
EACH = 0.015  # seconds for each column that grows: a browser draws its whole answer anew
STALE = 1.0  # seconds without a look after which a page is not followed any more


@dataclass(slots=True)
class View:
    """What a page shows."""

    comparison: Comparison
    """As it was when the page last did something to it."""
    looked: float = -STALE
    """When its generator last looked: one whose page has lost it stands still, and is no reason
    not to begin another."""

    @property
    def id(self) -> str:
        """ "" while it is not begun."""
        return self.comparison.id

    @property
    def followed(self) -> bool:
        return time.monotonic() - self.looked < STALE


class Watching:
    """The pages of a tab, by Gradio's session."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}

    def show(self, session: str, comparison: Comparison) -> View:
        view = self._views.setdefault(session, View(comparison))
        view.comparison = comparison
        return view

    def view(self, session: str) -> View:
        """What a page shows, as far as it is known here."""
        return self._views.get(session) or View(Comparison(Setup()))

    def leave(self, session: str) -> None:
        self._views.pop(session, None)

    async def watch(
        self, comparisons: Comparisons, owner: str, session: str
    ) -> AsyncGenerator[list[Face], None]:
        """The columns' faces whenever one has changed. Where this page is followed already, once.

        Raises RelayError.
        """
        view = self.view(session)
        if view.followed:
            yield faces(view.comparison)
            return
        view.looked = time.monotonic()
        try:
            async with aclosing(_followed(comparisons, owner, view)) as following:
                async for seen in following:
                    yield seen
        finally:
            view.looked = -STALE


async def _followed(
    comparisons: Comparisons, owner: str, view: View
) -> AsyncGenerator[list[Face], None]:
    over = False
    while not over:
        id, revision = view.id, comparisons.revision(owner, view.id)
        turns = comparisons.turns(owner, id)
        try:
            found = await comparisons.get(owner, id) if id else view.comparison
        except NotFound:  # it was deleted
            found = Comparison(view.comparison.setup)

        def other(id: str = id, revision: int = revision) -> bool:
            view.looked = time.monotonic()
            return view.id != id or comparisons.revision(owner, id) != revision

        async with aclosing(growing(found, turns, comparisons.count, other)) as seen:
            async for each in seen:
                yield each
        over = not other()


async def growing(
    comparison: Comparison,
    turns: dict[str, Turn],
    count: Callable[[], int],
    other: Callable[[], bool],
) -> AsyncGenerator[list[Face], None]:
    """At once, and whenever one of these turns has grown, until all have ended and it is known
    whether they were saved, or something `other` is to be shown. `count` says how many answers run
    for all pages together.
    """
    columns, last = comparison.arranged, comparison.last
    seen = dict.fromkeys(turns, -1)
    shown: list[Face] = []
    settled = False
    while True:
        running = sum(turn.running for turn in turns.values())
        grown = {slot for slot, turn in turns.items() if turn.version != seen[slot]}
        for slot in grown:
            seen[slot] = turns[slot].version
            answer = turns[slot].message
            if last is not None and _is(last.answers.get(slot), answer):
                last.answers[slot] = answer
        if not shown or not running:  # the end of the last answer changes what all can do
            shown = faces(comparison)
        else:
            shown = [
                face(comparison, column, at) if column.slot in grown else shown[at]
                for at, column in enumerate(columns)
            ]
        if grown or not (turns or settled):
            yield shown
        if settled or other():
            return
        if not running:
            await _kept(turns.values())
            settled = True
            continue
        await asyncio.sleep(max(PACE, EACH * running, paced(count())))


async def _kept(turns: Iterable[Turn]) -> None:
    """Wait until it is known of all turns whether they were saved, for a moment at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SAVED_WITHIN):
            for turn in turns:
                await turn.kept.wait()


def _is(known: dict[str, object] | None, answer: dict[str, object]) -> bool:
    return known is not None and known.get("id") == answer.get("id")
