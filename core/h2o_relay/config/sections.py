"""The file's `models:` and `pools:`, checked key by key, so that every mistake is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import BadServerString, RelayError
from ..h2ogpt import flags
from ..lock import LockError, keys, sampling, tuning
from ..lock.errors import nearest
from ..pools import READERS, PoolError, PoolSpec, pool_spec
from ..types import UNTUNED, Server
from .problems import Path, Problems, dotted

Parse = Callable[[str], Server]
VISIBLE = "visible"
"""The key of an entry that a lock's entry has not: whether its models are listed."""
ENTRY_NUMBERS = frozenset({*tuning.COUNTS, *sampling.NUMBERS, *sampling.WHOLE})
ENTRY_SWITCHES = frozenset({VISIBLE, "do_sample"})
ANY_ENTRY = {"inference_server": "x", "base_model": "x.gguf"}
"""What makes an entry of a single key."""
POOL_PLAIN = frozenset({"queue", "spill_over", "resume"})


def is_typed(path: Path) -> bool:
    """Whether a variable at this place may be a number or a boolean."""
    match path:
        case ("models", int(), str(key)):
            return key in ENTRY_NUMBERS or key in ENTRY_SWITCHES
        case ("pools", str(), str(key)):
            return key in POOL_PLAIN
        case ("pools", str(), "weights", str()):
            return True
    return False


def read_entries(
    written: Any, problems: Problems, parse: Parse | None
) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The entries, and a line for each key that means nothing here."""
    if written is None:
        return (), ()
    if not isinstance(written, list):
        problems.add(("models",), "models are a list of entries: - inference_server: ...")
        return (), ()
    notes: list[str] = []
    for number, entry in enumerate(written):
        path: Path = ("models", number)
        if not isinstance(entry, dict):
            reason = "an entry is a mapping: - inference_server: ..."
            problems.add(path, reason)
            continue
        notes += _check_entry(path, entry, problems, parse)
    good = [entry for entry in written if isinstance(entry, dict)]
    return tuple(good), tuple(dict.fromkeys(notes))


def _check_entry(
    path: Path, entry: dict[str, Any], problems: Problems, parse: Parse | None
) -> list[str]:
    known = keys.known() | {VISIBLE}
    for key in entry:
        if key not in known:
            problems.add((*path, key), f"there is no such key{nearest(key, known)}")
    wrong_visible = not isinstance(entry.get(VISIBLE, True), bool)
    if wrong_visible and not problems.are_in((*path, VISIBLE)):
        problems.add((*path, VISIBLE), "it is not true or false")
    lock = {key: value for key, value in entry.items() if key in keys.known()}
    rendering = {key: value for key, value in lock.items() if key in tuning.RENDERING}
    for part in (rendering, *({k: v} for k, v in lock.items() if k not in rendering)):
        _try(path, part, problems)
    if problems.are_in(path):
        return []
    called = dotted(path)
    try:
        spec, idle = keys.spec(0, lock, UNTUNED, called)
    except LockError as error:
        reason = str(error).removeprefix(called).lstrip(": ")
        problems.add(path, f"{reason} ({error.hint})" if error.hint else reason)
        return []
    if parse is not None:
        place: Path = (*path, "inference_server" if "inference_server" in entry else "base_model")
        _check_server(place, str(spec.server), problems, parse)
    return [f"{called}.{key}: {flags.answer(key)}" for key in idle]


def _try(path: Path, part: Mapping[str, Any], problems: Problems) -> None:
    """Read a few keys of an entry alone; a mistake is put at the key that it names."""
    if any(problems.are_in((*path, key)) for key in part):
        return
    called = dotted(path)
    try:
        keys.spec(0, {**ANY_ENTRY, **part}, UNTUNED, called)
    except LockError as error:
        text = str(error).removeprefix(f"{called}: ")
        key = next((key for key in keys.OWN if text.startswith((f"{key}: ", f"{key} "))), "")
        # A prompt_dict makes the prompt type custom, which a message then names.
        place = key if key in part else next(iter(part))
        problems.add((*path, place), text.removeprefix(key).lstrip(": "))


def _check_server(path: Path, text: str, problems: Problems, parse: Parse) -> None:
    try:
        parse(text)
    except BadServerString as error:
        example = f" (example: {error.example})" if error.example else ""
        problems.add(path, f"server string: {error.reason}{example}")
    except RelayError as error:
        problems.add(path, error.message)


def read_pools(written: Any, problems: Problems) -> tuple[PoolSpec, ...]:
    """The pools by the order of the file."""
    if written is None:
        return ()
    if not isinstance(written, dict):
        problems.add(("pools",), "pools are `name:` with `members` below it")
        return ()
    found: list[PoolSpec] = []
    for name, value in written.items():
        path: Path = ("pools", name)
        if not isinstance(value, dict):
            problems.add(path, "a pool is a mapping with `members`: [name, name]")
            continue
        _check_pool(path, value, problems)
        if problems.are_in(path):
            continue
        try:
            found.append(pool_spec(name, value))
        except PoolError as error:
            reason = str(error).partition(f"{name!r}: ")[2] or str(error)
            key = reason.partition(" ")[0].rstrip(":")
            problems.add((*path, key) if key in value else path, reason)
    _refuse_circles(found, problems)
    return tuple(found)


def _check_pool(path: Path, pool: Mapping[str, Any], problems: Problems) -> None:
    for key, value in pool.items():
        place = (*path, key)
        if key not in READERS:
            problems.add(place, f"there is no such key{nearest(key, READERS)}")
        elif not problems.are_in(place):
            try:
                READERS[key](value)
            except PoolError as error:
                problems.add(place, str(error))


def _refuse_circles(pools: Sequence[PoolSpec], problems: Problems) -> None:
    """Fallbacks that lead back to where they began would never answer."""
    after = {pool.name: pool.fallback for pool in pools}
    told: set[str] = set()
    for pool in pools:
        way, name = [pool.name], pool.fallback
        while name is not None and name not in way:
            way.append(name)
            name = after.get(name)
        if name == pool.name and not told & set(way):
            told |= set(way)
            circle = " -> ".join([*way, pool.name])
            problems.add(("pools", pool.name, "fallback"), f"it goes round in a circle: {circle}")


def doubts(entries: Sequence[Mapping[str, Any]], pools: Sequence[PoolSpec]) -> list[str]:
    """What may be a mistake, and may be meant: members that no entry of this file is called."""
    from ..lock import visible

    specs = [keys.spec(0, {k: v for k, v in entry.items() if k != VISIBLE}, UNTUNED)[0]
             for entry in entries]  # fmt: skip
    known = [name for name in visible.unique(specs) if name]
    wild = len(known) < len(entries)
    lines: list[str] = []
    for pool in pools:
        for number, member in enumerate(pool.members):
            place = f"pools.{pool.name}.members[{number}]"
            if isinstance(member, int) and member >= len(entries):
                lines.append(f"{place}: there is no entry {member} in this file")
            elif isinstance(member, str) and not wild and member not in known:
                lines.append(f"{place}: no entry of this file is called {member!r}"
                             f"{nearest(member, known)}")  # fmt: skip
    return lines
