"""Prices: which counts, what a request costs, and what a file's mistakes are."""

from __future__ import annotations

import pytest

from h2o_relay.accounting.prices import NO_PRICES, Price, Prices
from h2o_relay.config import ConfigError, entries_yaml, parse_config

HALF = Price(input=2.5, output=10, cached_input=1.25)
FILE = """
prices:
  currency: EUR
  models:
    gpt-4o*: {input: 2.5, output: 10, cached_input: 1.25}
    embed: {input: "${env.EMBED}", output: 0}
"""


def test_a_request_costs_what_its_tokens_do() -> None:
    prices = Prices({"m": HALF})
    assert prices.cost("m", "m", 1_000_000, 0, None) == 2.5
    assert prices.cost("m", "m", 0, 1_000_000, 0) == 10
    assert prices.cost("m", "m", 1000, 100, 400) == pytest.approx(
        (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6
    )


def test_cached_tokens_without_a_price_cost_what_the_others_do() -> None:
    prices = Prices({"m": Price(input=2, output=4)})
    assert prices.cost("m", "", 1_000_000, 0, 900_000) == 2


def test_a_server_that_tells_more_cached_tokens_than_there_are_earns_nothing() -> None:
    assert Prices({"m": HALF}).cost("m", "", 10, 0, 10_000) == pytest.approx(10 * 1.25 / 1e6)


def test_what_has_no_price_has_no_cost() -> None:
    assert Prices({"m": HALF}).cost("other", "", 10, 10, 0) is None
    assert NO_PRICES.cost("m", "m", 10, 10, 0) is None
    assert not NO_PRICES


def test_a_request_that_nobody_answered_costs_nothing() -> None:
    assert Prices({"*": HALF}).cost("m", "", None, None, None) == 0
    assert Prices({"*": HALF}).cost("", "", None, None, None) is None


def test_who_answered_counts_before_who_was_asked() -> None:
    prices = Prices({"pool": Price(input=1, output=1), "a": Price(input=3, output=3)})
    assert prices.cost("pool", "a", 1_000_000, 0, 0) == 3
    assert prices.cost("pool", "b", 1_000_000, 0, 0) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o", 1), ("gpt-4o-mini", 2), ("gpt-4o-mini-2024", 2), ("gpt-4.1", 3),
        ("claude", 4), ("org/gpt-4o", 4), ("a.b", 5), ("axb", 4), ("[x]", 6), ("x", 4),
    ],
)  # fmt: skip
def test_the_most_specific_name_counts(name: str, expected: float) -> None:
    costs = {"*": 4, "gpt-*": 3, "gpt-4o-mini*": 2, "gpt-4o": 1, "a.b": 5, "[x]*": 6}
    prices = Prices({key: Price(input=cost, output=0) for key, cost in costs.items()})
    for _ in range(2):  # the second time from memory
        assert prices.cost(name, "", 1_000_000, 0, 0) == expected


def test_of_two_alike_the_first_counts() -> None:
    prices = Prices({"a*c": Price(input=1, output=0), "ab*": Price(input=2, output=0)})
    assert prices.cost("abc", "", 1_000_000, 0, 0) == 1


def test_names_that_were_looked_up_do_not_pile_up() -> None:
    prices = Prices({"*": HALF})
    for number in range(5000):
        assert prices.of(f"m{number}") is HALF
    assert len(prices._known) <= 1000


def test_a_reservation_is_never_less_than_the_cost() -> None:
    prices = Prices({"a": HALF, "b": Price(input=9, output=1, cached_input=20)})
    assert prices.estimate("a", 1000, 500) == pytest.approx((1000 * 2.5 + 500 * 10) / 1e6)
    assert prices.estimate("b", 1000, 500) == pytest.approx((1000 * 20 + 500 * 1) / 1e6)
    assert prices.estimate("pool", 1000, 500) == 0
    dearest = max(prices.estimate("a", 1000, 500), prices.estimate("b", 1000, 500))
    assert prices.estimate("pool", 1000, 500, ["a", "b", "c"]) == dearest
    for cached in (0, 300, 1000):
        cost = prices.cost("b", "", 1000, 500, cached)
        assert cost is not None
        assert cost <= prices.estimate("b", 1000, 500) + 1e-12


def test_a_file_has_prices() -> None:
    config = parse_config(FILE, {"EMBED": "0.02"})
    assert config.prices == Prices({"gpt-4o*": HALF, "embed": Price(input=0.02, output=0)}, "EUR")
    assert config.prices.cost("gpt-4o-mini", "", 1_000_000, 0, 0) == 2.5
    assert config.origin("prices.models.embed") == "h2o.yaml:6"
    assert parse_config("", {}).prices == NO_PRICES
    assert parse_config("prices: {models: {a: {input: 1, output: 1}}}", {}).prices.currency == "USD"


def test_prices_are_written_as_they_are_read() -> None:
    prices = parse_config(FILE, {"EMBED": "0.02"}).prices
    assert parse_config(entries_yaml([], prices=prices), {}).prices == prices


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prices: 5", "line 1: prices: prices are a mapping with `models`, and perhaps `currency`"),
        ("prices: {modles: {}}", ("line 1: prices.modles: there is no such key; did you mean "
         "'models'?")),
        ("prices: {gpt-4: {input: 1, output: 1}}", ("line 1: prices.gpt-4: there is no such key; "
         "prices stand below `models:`, by the models' names")),
        ("prices: {currency: 5}", "line 1: prices.currency: 5 is no currency, such as USD"),
        ("prices:\n  models: []", ("line 2: prices.models: prices of models are "
         "`name: {input: 2.5, output: 10}`")),
        ("prices: {models: {m: 3}}", ("line 1: prices.models.m: a price is a mapping: "
         "{input: 2.5, output: 10}")),
        ("prices: {models: {m: {input: 1}}}", ("line 1: prices.models.m: 'output' is missing "
         "(a model without answers has 0)")),
        ("prices: {models: {m: {output: 1}}}", ("line 1: prices.models.m: 'input' is missing "
         "(what costs nothing is 0)")),
        ("prices: {models: {m: {input: -1, output: 1}}}", ("line 1: prices.models.m.input: -1 is "
         "not a number from 0 to 1e+09")),
        ("prices: {models: {m: {input: .inf, output: 1}}}",
         ("line 1: prices.models.m.input: inf is "
         "not a number from 0 to 1e+09")),
        ("prices: {models: {m: {input: true, output: 1}}}", ("line 1: prices.models.m.input: True "
         "is not a number from 0 to 1e+09")),
        ("prices: {models: {m: {input: 1, output: 1, cached: 1}}}", ("line 1: prices.models.m."
         "cached: there is no such key; did you mean 'cached_input'?")),
    ],
)  # fmt: skip
def test_mistakes_say_where_they_are(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, {})
    assert [str(problem) for problem in caught.value.problems] == [told]


def test_every_mistake_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("prices: {x: 1, models: {a: {}, b: {input: x, output: 1}}}", {})
    assert [problem.path for problem in caught.value.problems] == [
        "prices.x", "prices.models.a", "prices.models.a", "prices.models.b.input",
    ]  # fmt: skip
