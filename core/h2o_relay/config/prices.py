"""The file's `prices:`, checked value by value, so that every mistake is told at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from ..accounting.prices import CURRENCY, NO_PRICES, Price, Prices
from ..lock.errors import nearest, shown
from .problems import Path, Problems

SECTION = "prices"
KEYS = ("currency", "models")
NEEDED: Final = ("input", "output")
MOST: Final = 1e9  # of a million tokens, in any currency
CURRENCIES: Final = "[A-Za-z]{1,8}"
"""The name of a currency as it is shown, ISO 4217's three letters or another word."""
HELP: Final[Mapping[str, str]] = {
    "input": "Price of a million tokens of prompts.",
    "output": "Price of a million tokens of answers.",
    "cached_input": "Price of a million of those tokens of prompts that the server had in its "
    "cache; without it they cost what the others do.",
}


def is_price(path: Path) -> bool:
    """Whether a variable at this place may be a number."""
    match path:
        case ("prices", "models", str(), str(key)):
            return key in HELP
    return False


def read_prices(written: Any, problems: Problems) -> Prices:
    """The prices; those of a file with mistakes are not to be used."""
    if written is None:
        return NO_PRICES
    if not isinstance(written, dict):
        problems.add((SECTION,), "prices are a mapping with `models`, and perhaps `currency`")
        return NO_PRICES
    for key in written:
        if key not in KEYS:
            hint = nearest(key, KEYS) or "; prices stand below `models:`, by the models' names"
            problems.add((SECTION, key), f"there is no such key{hint}")
    currency = written.get("currency", CURRENCY)
    if not isinstance(currency, str) or not re.fullmatch(CURRENCIES, currency):
        place = (SECTION, "currency")
        if not problems.are_in(place):
            problems.add(place, f"{shown(currency)} is no currency, such as {CURRENCY}")
        currency = CURRENCY
    return Prices(_models(written.get("models"), problems), currency)


def _models(written: Any, problems: Problems) -> dict[str, Price]:
    place: Path = (SECTION, "models")
    if written is None:
        return {}
    if not isinstance(written, dict):
        problems.add(place, "prices of models are `name: {input: 2.5, output: 10}`")
        return {}
    found: dict[str, Price] = {}
    for name, price in written.items():
        path: Path = (*place, name)
        if not name.strip():
            problems.add(path, "a model has a name; `*` stands for all of them")
        elif not isinstance(price, dict):
            problems.add(path, "a price is a mapping: {input: 2.5, output: 10}")
        else:
            _check(path, price, problems)
            if not problems.are_in(path):
                found[name] = Price(**price)
    return found


def _check(path: Path, price: Mapping[str, Any], problems: Problems) -> None:
    names = [item.name for item in fields(Price)]
    for key, value in price.items():
        place: Path = (*path, key)
        if key not in names:
            problems.add(place, f"there is no such key{nearest(key, names)}")
        elif key == "cached_input" and value is None:
            continue
        elif not problems.are_in(place) and not is_amount(value):
            problems.add(place, f"{shown(value)} is not a number from 0 to {MOST:g}")
    for key in NEEDED:
        if key not in price:
            why = "what costs nothing is 0" if key == "input" else "a model without answers has 0"
            problems.add(path, f"{key!r} is missing ({why})")


def is_amount(value: Any) -> bool:
    """Whether a value is a price."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= MOST
