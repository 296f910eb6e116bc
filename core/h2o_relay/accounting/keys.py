"""A key of `h2o keys`: what is known of it, what it is wanted to be, and both as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, get_args

from ..errors import InvalidRequest
from .caller import UNLIMITED, Allowance, Caller, Period
from .moments import moment
from .secret import ID

NAME = 100  # characters
MODELS = 100  # patterns of a key
MODEL = 256  # characters of one
MOST = 2**53  # what a number may be: more is not exact in JSON
COUNTS: Final = ("requests_per_minute", "tokens_per_minute", "concurrent")
ALLOWED: Final = ("models", *COUNTS, "budget", "budget_period")
FIELDS: Final = ("name", *ALLOWED, "expires", "admin")
"""What may be said of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a key is to be."""

    name: str
    allowance: Allowance = UNLIMITED
    expires: float | None = None
    """Unix time; None for never."""
    admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What is known of a key, and no secret. Times are Unix times."""

    id: str
    wanted: Wanted
    last4: str
    """The end of the key, for people."""
    created: float
    revoked: float | None = None
    used: float | None = None
    """When it was last presented, up to a minute late."""
    old_until: float | None = None
    """Until when the key is good that this one has replaced."""

    def state(self, now: float) -> str:
        """`good`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        expires = self.wanted.expires
        return "expired" if expires is not None and expires <= now else "good"

    def caller(self) -> Caller:
        """Who presents it."""
        wanted = self.wanted
        return Caller(
            id=self.id, name=wanted.name, allowance=wanted.allowance, admin=wanted.admin
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredKey:
    info: KeyInfo
    digest: bytes
    old: bytes | None
    """The digest of the key that this one has replaced, good until `info.old_until`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys of a store at one moment, revoked ones too."""

    revision: int
    """Another one after every change."""
    secret: bytes
    """What their digests are made with."""
    keys: Sequence[StoredKey]


class KeySource(Protocol):
    """Where a ring gets its keys: `store.Keys`. Everything raises StoreError."""

    async def snapshot(self, seen: int | None) -> Snapshot | None:
        """None where the revision is still `seen`."""
        ...

    async def note_used(self, times: Mapping[str, float]) -> None:
        """Ids, and when each was last presented."""
        ...


def view(info: KeyInfo, now: float) -> dict[str, Any]:
    """As JSON, for /admin and for the command line."""
    wanted = info.wanted
    allowance = {name: getattr(wanted.allowance, name) for name in ALLOWED}
    return {
        "object": "key", "id": info.id, "name": wanted.name, "state": info.state(now),
        "last4": info.last4, "created": info.created, "expires": wanted.expires,
        "revoked": info.revoked, "used": info.used, "old_until": info.old_until,
        "admin": wanted.admin, **allowance, "models": list(wanted.allowance.models),
    }  # fmt: skip


def wanted_of(body: Mapping[str, Any], now: float, base: Wanted | None = None) -> Wanted:
    """What a request wants of a key: a new one, or `base` with changes. null takes a limit away.

    Raises InvalidRequest, naming the field.
    """
    for field in body:
        if field not in FIELDS:
            raise InvalidRequest(
                f"A key has no field {field[:100]!r}; it has {', '.join(FIELDS)}.",
                param=field[:100], code="unknown_parameter",
            )  # fmt: skip
    if base is None:
        base = Wanted(name=_name(body.get("name")))
    elif "name" in body:
        base = replace(base, name=_name(body["name"]))
    allowed = {name: _READERS[name](name, body[name]) for name in ALLOWED if name in body}
    base = replace(base, allowance=replace(base.allowance, **allowed))
    if "expires" in body:
        base = replace(base, expires=_expires(body["expires"], now))
    if "admin" in body:
        if type(body["admin"]) is not bool:
            raise _wrong("admin", "must be true or false")
        base = replace(base, admin=body["admin"])
    return base


def _name(value: Any) -> str:
    if value is None:
        raise InvalidRequest("'name' is missing.", param="name", code="missing_required_parameter")
    if not isinstance(value, str):
        raise _wrong("name", "must be a string")
    name = value.strip()
    if not name or len(name) > NAME or not name.isprintable():
        raise InvalidRequest(
            f"A key's name has 1 to {NAME} characters that can be printed.", param="name"
        )
    if name.startswith(ID):
        raise InvalidRequest(f"A key's name does not begin with {ID}: ids do.", param="name")
    return name


def _models(field: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _wrong(field, "must be a list of names of models")
    if len(value) > MODELS or not all(0 < len(one) <= MODEL for one in value):
        raise InvalidRequest(
            f"'{field}' has at most {MODELS} names of 1 to {MODEL} characters.", param=field
        )
    return tuple(value)


def _count(field: str, value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise _wrong(field, "must be a whole number")
    if not 1 <= value <= MOST:
        raise InvalidRequest(f"'{field}' must be from 1 to {MOST}.", param=field)
    return value


def _budget(field: str, value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise _wrong(field, "must be a number")
    if not 0 <= value <= MOST:
        raise InvalidRequest(f"'{field}' must be from 0 to {MOST}.", param=field)
    return float(value)


def _period(field: str, value: Any) -> str:
    if value not in get_args(Period):
        raise InvalidRequest(f"'{field}' must be day, month or total.", param=field)
    return str(value)


def _expires(value: Any, now: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = moment(value, now)
        except ValueError as error:
            raise InvalidRequest(f"'expires': {error}.", param="expires") from None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _wrong("expires", "must be a Unix time, or a text such as 30d or 2030-01-01")
    if not now < value <= MOST:
        raise InvalidRequest("'expires' must be in the future.", param="expires")
    return float(value)


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'{field}' {why}.", param=field, code="invalid_type")


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "models": _models, **dict.fromkeys(COUNTS, _count), "budget": _budget, "budget_period": _period,
}  # fmt: skip
