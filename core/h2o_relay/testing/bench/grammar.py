"""The names of the bench's models, which say how it is to behave.

    NAME                          reset
    NAME@option=value~...         reset@after=3        ok@tokens=20~delay=50

A behaviour is a function that makes the answer to one request. Its name is the behaviour's, its
docstring the line that describes it, and its options and their defaults stand in the decorator:

    @behaviour(after=3)
    def reset(asked: Asked) -> Play:
        \"\"\"RST after `after` tokens.\"\"\"

An option is a number (0 and above) or, where its default is a tuple, one of those words, the first
unless another is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ...errors import ModelNotFound
from ..scripts import Play
from ..upstream import Received

Default = int | tuple[str, ...]
Value = int | str


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a behaviour."""

    request: Received
    params: Mapping[str, Any]
    """The request's body, decoded."""
    options: Mapping[str, Value]
    times: int = 0
    """How many requests for this very name came before."""
    vanish: Callable[[float], None] = lambda seconds: None
    """Kills the server, and starts it again after so many seconds."""

    @property
    def stream(self) -> bool:
        return self.params.get("stream") is True

    def number(self, option: str) -> int:
        return int(self.options[option])

    def word(self, option: str) -> str:
        return str(self.options[option])

    def seconds(self, option: str) -> float:
        """An option in milliseconds."""
        return self.number(option) / 1000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One thing that the bench can do."""

    name: str
    summary: str
    defaults: Mapping[str, Default]
    answer: Callable[[Asked], Play]

    @property
    def names(self) -> list[str]:
        """Its own name, and one for each word of an option that is not the default."""
        words = [
            f"{self.name}@{option}={word}"
            for option, default in self.defaults.items()
            if isinstance(default, tuple)
            for word in default[1:]
        ]
        return [self.name, *words]

    @property
    def options_shown(self) -> str:
        """Every option with its default, or with the words to choose from; "" if there is none."""
        shown = [
            f"{option}={'|'.join(default) if isinstance(default, tuple) else default}"
            for option, default in self.defaults.items()
        ]
        return f"[{' '.join(shown)}]" if shown else ""

    def options(self, text: str) -> dict[str, Value]:
        """Read what follows the `@`. Raises ModelNotFound."""
        chosen: dict[str, Value] = {
            option: default[0] if isinstance(default, tuple) else default
            for option, default in self.defaults.items()
        }
        for pair in text.split("~") if text else []:
            option, _, value = pair.partition("=")
            if option not in self.defaults:
                raise ModelNotFound(f"`{self.name}` has no option `{option}` {self.options_shown}")
            chosen[option] = self._value(option, value)
        return chosen

    def _value(self, option: str, value: str) -> Value:
        default = self.defaults[option]
        if isinstance(default, tuple):
            if value in default:
                return value
            raise ModelNotFound(f"`{option}` is one of {', '.join(default)}, not `{value}`")
        if value.isascii() and value.isdigit():
            return int(value)
        raise ModelNotFound(f"`{option}` is a number, 0 or above, not `{value}`")


def behaviour(**defaults: Default) -> Callable[[Callable[[Asked], Play]], Behaviour]:
    """Make a behaviour of a function."""

    def make(answer: Callable[[Asked], Play]) -> Behaviour:
        summary = " ".join((answer.__doc__ or "").split())
        return Behaviour(answer.__name__.replace("_", "-"), summary, defaults, answer)

    return make


def read_name(name: str, known: Mapping[str, Behaviour]) -> tuple[Behaviour, dict[str, Value]]:
    """What a model's name asks for. Raises ModelNotFound, which says what is wrong with it."""
    base, _, options = name.partition("@")
    found = known.get(base)
    if found is None:
        near: Sequence[str] = get_close_matches(base, known, 1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ModelNotFound(f"The bench has no behaviour `{base}`.{hint}", param="model")
    return found, found.options(options)
