"""What tokens cost: prices from the configuration, and from nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

CURRENCY: Final = "USD"
PER = 1_000_000  # tokens that a price is for
REMEMBERED = 1000  # names whose price was looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a million tokens each, in the currency of its `Prices`."""

    input: float
    output: float
    cached_input: float | None = None
    """Of the prompt's tokens, those that the server had in its cache; None: as the others."""

    def cost(self, prompt: int, completion: int, cached: int) -> float:
        """Of so many tokens; `cached` are among those of the prompt."""
        if not cached:
            return (prompt * self.input + completion * self.output) / PER
        cached = min(cached, prompt)
        reused = self.input if self.cached_input is None else self.cached_input
        paid = (prompt - cached) * self.input + cached * reused + completion * self.output
        return paid / PER

    @property
    def dearest_input(self) -> float:
        """Of a million tokens of a prompt, whether they are cached or not."""
        cached = self.cached_input
        return self.input if cached is None or cached <= self.input else cached

    def written(self) -> dict[str, float]:
        """As in the configuration file."""
        cached = {} if self.cached_input is None else {"cached_input": self.cached_input}
        return {"input": self.input, "output": self.output} | cached


class Prices:
    """Prices by the names of models and pools, also with `*` in them as in file names.

    Of the names that fit the most specific one counts: one without `*`, else the one with the most
    characters beside its `*`, of two alike the first. Never changes: a reload brings another.
    """

    def __init__(self, models: Mapping[str, Price] | None = None, currency: str = CURRENCY) -> None:
        self.currency = currency
        self.models: Mapping[str, Price] = dict(models or {})
        wild = [name for name in self.models if "*" in name]
        wild.sort(key=lambda name: -len(name.replace("*", "")))
        self._wild = [(_pattern(name), self.models[name]) for name in wild]
        self._known: dict[str, Price | None] = {}

    def __bool__(self) -> bool:
        """Whether there is any price."""
        return bool(self.models)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prices):
            return NotImplemented
        return (self.currency, self.models) == (other.currency, other.models)

    def __hash__(self) -> int:
        return hash((self.currency, frozenset(self.models)))

    def __repr__(self) -> str:
        return f"Prices({dict(self.models)!r}, {self.currency!r})"

    def of(self, name: str) -> Price | None:
        """The price of a model or a pool; None where it has none."""
        try:
            return self._known[name]
        except KeyError:
            pass
        found = self.models.get(name) if "*" not in name else None
        if found is None:
            found = next((price for fits, price in self._wild if fits.fullmatch(name)), None)
        if len(self._known) < REMEMBERED:
            self._known[name] = found
        return found

    def cost(
        self, model: str, deployment: str, prompt: int | None, completion: int | None,
        cached: int | None,
    ) -> float | None:  # fmt: skip
        """What a request has cost: by the price of who answered (`deployment`, of a pool one of its
        members), else by that of what was asked for; None where neither has one. Tokens that nobody
        counted (None) cost nothing.
        """
        price = (self.of(deployment) if deployment else None) or (self.of(model) if model else None)
        if price is None:
            return None
        return price.cost(prompt or 0, completion or 0, cached or 0)

    def estimate(
        self, model: str, prompt: int, max_tokens: int, members: Iterable[str] = ()
    ) -> float:
        """The most that a request can cost, for what is reserved of a budget: a prompt of so many
        tokens, none of them cached, and the longest answer. `members` are who may answer in the
        place of a pool: the dearest counts. 0 where nothing has a price.
        """
        most = 0.0
        for name in (model, *members):
            price = self.of(name)
            if price is not None:
                cost = (prompt * price.dearest_input + max_tokens * price.output) / PER
                most = cost if cost > most else most
        return most

    def written(self) -> dict[str, Any]:
        """As in the configuration file; empty where there is no price."""
        if not self:
            return {}
        models = {name: price.written() for name, price in self.models.items()}
        return {"currency": self.currency, "models": models}


NO_PRICES: Final = Prices()


def _pattern(name: str) -> re.Pattern[str]:
    """`*` stands for any text; everything else is meant as it is written."""
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
