"""`PoolSpec`: several deployments under one name, as their operator wrote them. Reading only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, Literal, Self, get_args

Strategy = Literal["least-load", "latency", "weighted", "priority", "sticky", "warm-first"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
SHOWN = 60  # characters of a wrong value that an error repeats
MOST = 1_000_000  # of anything that is counted


class PoolError(ValueError):
    """A pool that cannot be read; the message is one line that names the pool and the way out."""


def _meaning(help: str, default: Any = MISSING) -> Any:
    make: dict[str, Any] = {"default_factory": dict} if default is dict else {"default": default}
    return field(**make, metadata={"help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A pool. Its members are names of deployments, or places in the model lock from 0 on."""

    name: str = _meaning("The name that clients ask for.")
    members: tuple[str | int, ...] = _meaning(
        "The deployments that it consists of: their names, or their places from 0 on. For "
        "`priority`, the first is the preferred one."
    )
    strategy: Strategy = field(
        default="least-load", metadata={"help": "How a member is chosen for a request."}
    )
    weights: Mapping[str, float] = _meaning(
        "For `weighted`: the share of each member, 1 where nothing is said; 0 for none.", dict
    )
    spill_over: int | None = _meaning(
        "For `priority`: requests at a member from which on the next one is used as well; without "
        "it, a member is used until its own limit is reached.",
        None,
    )
    queue: int = _meaning("Requests that may wait while every member is at its limit.", 100)
    resume: bool = _meaning(
        "Go on with a streamed answer on another member when its server dies in the middle.", False
    )
    fallback: str | None = _meaning("The model, or pool, that answers where no member can.", None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A pool as the command line has it: `NAME=a,b`, with options after semicolons, such as
        `NAME=a,b;strategy=weighted;weights=a:2,b:1;queue=10;resume=true`.

        Raises PoolError.
        """
        first, *options = text.split(";")
        name, equals, members = first.partition("=")
        name = name.strip()
        if not equals or not name:
            raise PoolError(f"pool {_shown(text)}: write NAME=MEMBER,MEMBER")
        written: dict[str, Any] = {"members": _listed(members)}
        for option in options:
            if not option.strip():
                continue
            key, equals, value = option.partition("=")
            key = key.strip().replace("-", "_")
            if not equals:
                raise PoolError(f"pool {_shown(name)}: write {_shown(key)} as KEY=VALUE")
            if key in written:
                raise PoolError(f"pool {_shown(name)}: {_shown(key)} is given twice")
            written[key] = _plain(key, value.strip(), name)
        return cls(**_read(name, written))

    def written(self) -> dict[str, Any]:
        """What `pool_spec` reads, without what is as it is by default."""
        found: dict[str, Any] = {"members": list(self.members)}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in ("name", "members") and value != item.default and value != {}:
                found[item.name] = dict(value) if item.name == "weights" else value
        return found


def pool_spec(name: str, written: Mapping[str, Any]) -> PoolSpec:
    """A pool as a file or the admin API has it: `members` and, if wanted, the other fields.

    Raises PoolError.
    """
    return PoolSpec(**_read(name, written))


def _read(name: str, written: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise PoolError(f"pool {_shown(name)}: its name must be a line of text")
    if not isinstance(written, Mapping):
        raise PoolError(f"pool {_shown(name)}: must be a mapping with members")
    found: dict[str, Any] = {"name": name.strip()}
    for key, value in written.items():
        reader = READERS.get(key) if isinstance(key, str) else None
        if reader is None:
            raise PoolError(f"pool {_shown(name)}: {_unknown('key', key, tuple(READERS))}")
        try:
            found[key] = reader(value)
        except PoolError as error:
            raise PoolError(f"pool {_shown(name)}: {key} {error}") from None
    if "members" not in found:
        raise PoolError(f"pool {_shown(name)}: has no members")
    _agree(found)
    return found


def _agree(found: dict[str, Any]) -> None:
    """What one field alone cannot tell."""
    shown = _shown(found["name"])
    strategy = found.get("strategy", "least-load")
    for key, its in OF_ONE.items():
        if found.get(key) and strategy != its:
            raise PoolError(f"pool {shown}: {key} is for the strategy {its}, not {strategy}")
    members = [str(member) for member in found["members"]]
    weights = found.get("weights", {})
    for member in weights:
        if member not in members:
            raise PoolError(f"pool {shown}: weights: {_unknown('member', member, tuple(members))}")
    if weights and all(weights.get(member, 1.0) == 0 for member in members):
        raise PoolError(f"pool {shown}: weights must leave something to one member at least")
    if found.get("fallback") == found["name"]:
        raise PoolError(f"pool {shown}: cannot be its own fallback")


def _members(value: Any) -> tuple[str | int, ...]:
    if isinstance(value, str):
        value = _listed(value)
    if not isinstance(value, list | tuple) or not value:
        raise PoolError("must be a list of names or places, one at least")
    found = [_member(one) for one in value]
    for place, one in enumerate(found):
        if one in found[:place]:
            raise PoolError(f"has {_shown(one)} twice")
    return tuple(found)


def _member(value: Any) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST:
        return value
    if not isinstance(value, str) or not value.strip():
        raise PoolError(f"must be names or places from 0 on, not {_shown(value)}")
    value = value.strip()
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else value


def _strategy(value: Any) -> str:
    if value not in STRATEGIES:
        raise PoolError(_unknown("strategy", value, STRATEGIES))
    return str(value)


def _weights(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise PoolError("must be a mapping from members to numbers")
    found: dict[str, float] = {}
    for member, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or not 0 <= weight <= MOST:
            raise PoolError(f"must be numbers from 0 on, not {_shown(weight)}")
        found[str(_member(member))] = float(weight)
    return found


def _count(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            raise PoolError(f"must be a whole number from {least} on, not {_shown(value)}")
        return value

    return read


def _spill_over(value: Any) -> int | None:
    return None if value is None else _count(1)(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise PoolError(f"must be true or false, not {_shown(value)}")
    return value


def _fallback(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise PoolError(f"must be a model's name, not {_shown(value)}")
    return value.strip() if value else None


READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "members": _members,
    "strategy": _strategy,
    "weights": _weights,
    "spill_over": _spill_over,
    "queue": _count(0),
    "resume": _truth,
    "fallback": _fallback,
}
"""What may be written of a pool, and what reads it."""
OF_ONE: Final[Mapping[str, Strategy]] = {"weights": "weighted", "spill_over": "priority"}
"""Fields that mean something to one strategy only."""


def _plain(key: str, value: str, name: str) -> Any:
    """An option of the command line as a file would have it; what is odd is left to the readers."""
    if key in ("queue", "spill_over") and value.isascii() and value.isdecimal():
        return int(value) if len(value) < 10 else value
    if key == "resume":
        return {"true": True, "false": False}.get(value.lower(), value)
    if key == "weights":
        pairs = [_weight(one, name) for one in _listed(value)]
        if len(dict(pairs)) < len(pairs):
            raise PoolError(f"pool {_shown(name)}: weights has a member twice")
        return dict(pairs)
    return value


def _weight(text: str, name: str) -> tuple[str, float]:
    member, colon, number = text.rpartition(":")  # names of models have colons too
    try:
        if colon:
            return member, float(number)
    except ValueError:
        pass
    raise PoolError(f"pool {_shown(name)}: weights are written MEMBER:NUMBER, not {_shown(text)}")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _unknown(what: str, value: Any, valid: tuple[str, ...]) -> str:
    near = get_close_matches(str(value), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(valid)}"
    return f"there is no {what} {_shown(value)}; {hint}"


def _shown(value: Any) -> str:
    text = str(value)
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return repr(text) if isinstance(value, str) else text.replace("\n", " ")
