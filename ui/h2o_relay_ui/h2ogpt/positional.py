"""h2oGPT's calls whose values have no names, and what each place means: `positional.toml`."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from h2o_relay.errors import InvalidRequest

ABSENT = "(not given)"
"""What Gradio's clients send for what their caller left out."""


@cache
def _orders() -> dict[str, str]:
    text = resources.files(__package__).joinpath("positional.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _words(name: str) -> tuple[str, ...]:
    return tuple(_orders()[name].split())


NAMES = _words("submit")
LATER = _words("later")
EARLIER = tuple(name for name in NAMES if name not in LATER)
ALIKE = next(at for at, pair in enumerate(zip(NAMES, EARLIER, strict=False)) if len({*pair}) > 1)
"""So many first places mean the same in both."""
MORE = "more"
"""The name of the place after the last."""
LOAD = _words("load")
LOGIN = _words("login")


def declared(function: Callable[..., Any], names: Sequence[str], *special: type) -> Any:
    """`function(*values)` as one of these parameters, all of which may be left out; before them
    it gets what Gradio gives for the types in `special`.
    """
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = [inspect.Parameter(f"_{t.__name__.lower()}", place, annotation=t) for t in special]
    rest = [inspect.Parameter(name, place, default=ABSENT, annotation=Any) for name in names]
    returns = inspect.signature(function, eval_str=True).return_annotation
    changed: Any = function
    changed.__signature__ = inspect.Signature([*first, *rest], return_annotation=returns)
    changed.__annotations__ = {p.name: p.annotation for p in [*first, *rest]} | {"return": returns}
    return changed


def submitted(values: Sequence[Any]) -> dict[str, Any]:
    """What was given to `/submit_nochat`, by name. Raises InvalidRequest for an unknown order."""
    given = [value for value in values if value != ABSENT]
    gaps = list(values[: len(given)]) != given
    count = len(given)
    if gaps or count <= ALIKE or count == len(NAMES):
        return named(NAMES, values)
    if count == len(EARLIER):
        return named(EARLIER, values)
    raise InvalidRequest(
        f"/submit_nochat takes {len(EARLIER)} or {len(NAMES)} values here, in the order of h2oGPT "
        f"of March 2024 or of its release 0.2.1, and got {min(count, len(values) - 1)}"
        f"{' or more' if count == len(values) else ''}. Call /submit_nochat_api with the text of a "
        "dict of names and values instead."
    )


def named(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What was given, by name."""
    pairs = zip(names, values, strict=False)
    return {name: value for name, value in pairs if value is not None and value != ABSENT}


def credentials(values: Sequence[Any]) -> tuple[str, str]:
    """The name and the password that were given to `/login`."""
    early = len(values) > 2 and all(isinstance(v, str) and v != ABSENT for v in values[1:3])
    if early and not (isinstance(values[3], str) and values[3] != ABSENT):
        name, password = values[1:3]
    else:
        found: Mapping[str, Any] = named(LOGIN, values)
        name, password = found.get("username"), found.get("password")
    return (name if isinstance(name, str) else "", password if isinstance(password, str) else "")
