"""From what is served to what is to be served: only what differs is opened and closed.

The file, a signal and the admin API all come here, through `Kernel.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .entry import Entry, entry_of
from .pooling import Pool
from .pools import PoolSpec
from .spec import ServerSpec
from .types import Server

if TYPE_CHECKING:
    from .catalog import Before
    from .plugins import Plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A server that is to be served."""

    spec: ServerSpec
    """Parsed."""
    id: str | None = None
    """Of one that was added while the relay ran, which can be changed and removed."""
    before: Before | None = None
    """Awaited before it is opened (`Catalog.look_after`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change came to: server strings, their secrets masked."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    """Told differently (limits, names, what is listed) without being reopened."""
    kept: int = 0
    pools: tuple[str, ...] = ()
    """Names of pools that are new, changed or gone."""
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.reopened, self.adjusted, self.pools))

    @property
    def line(self) -> str:
        """In one line, for people."""
        counts = [
            (len(self.added), "added"), (len(self.removed), "removed"),
            (len(self.reopened), "opened anew"), (len(self.adjusted), "adjusted"),
            (self.kept, "kept"), (len(self.pools), f"pool{'s' * (len(self.pools) > 1)} changed"),
        ]  # fmt: skip
        return ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing to do"


@dataclass(slots=True)
class Plan:
    """The entries from now on, in their order, and what to do for it."""

    entries: list[Entry] = field(default_factory=list)
    opened: list[tuple[Entry, Before | None]] = field(default_factory=list)
    closed: list[Entry] = field(default_factory=list)
    adjusted: list[tuple[Entry, ServerSpec]] = field(default_factory=list)
    reopened: list[Entry] = field(default_factory=list)
    kept: int = 0

    @property
    def change(self) -> Change:
        fresh = [entry for entry, _ in self.opened if entry not in self.reopened]
        ids = {entry.id for entry in self.reopened}
        gone = [entry for entry in self.closed if entry.id not in ids]
        return Change(
            added=_shown(fresh),
            removed=_shown(gone),
            reopened=_shown(self.reopened),
            adjusted=_shown(entry for entry, _ in self.adjusted),
            kept=self.kept,
        )


def _shown(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.server.shown for entry in entries)


def plan(plugins: Plugins, entries: Sequence[Entry], wanted: Sequence[Wanted]) -> Plan:
    """How to come from `entries` to what is wanted; nothing is done yet.

    Raises BadServerString, PluginError.
    """
    left, result = list(entries), Plan()
    same = [_taken(left, want, _is_same) for want in wanted]
    found = [
        entry or _taken(left, want, _is_near) for entry, want in zip(same, wanted, strict=True)
    ]
    for old, want in zip(found, wanted, strict=True):
        if old is not None and old.spec == want.spec:
            result.kept += 1
        elif old is not None and _reaches(old.spec, want.spec):
            result.adjusted.append((old, want.spec))
        else:
            new = entry_of(plugins, want.spec)
            new.id = want.id or (old.id if old else new.id)
            new.added = want.id is not None
            result.opened.append((new, want.before))
            if old is not None:
                result.closed.append(old)
                result.reopened.append(new)
            old = new
        result.entries.append(old)
    result.closed += left
    return result


def _taken(left: list[Entry], want: Wanted, fits: Callable[[Entry, Wanted], bool]) -> Entry | None:
    """The first of `left` that fits, taken out of it."""
    for entry in left:
        if fits(entry, want):
            left.remove(entry)
            return entry
    return None


def _is_same(entry: Entry, want: Wanted) -> bool:
    """What was added while the relay ran is told apart by its id, all else by what it says."""
    if want.id is not None or entry.added:
        return want.id == entry.id
    return entry.spec == want.spec


def _is_near(entry: Entry, want: Wanted) -> bool:
    return want.id is None and not entry.added and _reaches(entry.spec, want.spec)


def _reaches(old: ServerSpec | None, new: ServerSpec) -> bool:
    """Whether the open server of `old` will do for `new`: what else they say is ours to see to."""
    if old is None or not isinstance(new.server, Server):
        return False
    return (old.server, old.base_model) == (new.server, new.base_model)


def pools(before: Sequence[Pool], specs: Iterable[PoolSpec]) -> tuple[list[Pool], tuple[str, ...]]:
    """The pools from now on, queues kept, and the names of those that differ. Of two that share a
    name the first counts: the command line's, which go before the file's.
    """
    old, result, differ = {pool.name: pool for pool in before}, [], []
    named: dict[str, PoolSpec] = {}
    for spec in specs:
        named.setdefault(spec.name, spec)
    for spec in named.values():
        pool = old.pop(spec.name, None)
        if pool is None:
            pool = Pool(spec)
            differ.append(spec.name)
        elif pool.spec != spec:
            pool.change(spec)
            differ.append(spec.name)
        result.append(pool)
    for gone in old.values():
        gone.remove()
    return result, (*differ, *old)
