"""Ratings from votes."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from h2o_relay.store import Vote
from h2o_relay_ui.leaderboard import BASE, FEW, SCALE, Standing, fit, standings


def vote(*models: str, winner: str | None = "") -> Vote:
    return Vote(models=models, winner=winner, prompt="", conversation=None, time=0.0)


def by_name(votes: list[Vote]) -> dict[str, Standing]:
    return {standing.model: standing for standing in standings(votes)}


def test_without_votes_there_is_no_rating() -> None:
    assert standings([]) == []
    assert standings([vote("a", winner="a"), vote("a", "a", winner="a")]) == []


def test_two_models_are_as_far_apart_as_the_odds_say() -> None:
    """With many votes the prior does not matter: 3 to 1 are 400·log10(3) points."""
    votes = [vote("a", "b", winner="a")] * 3000 + [vote("a", "b", winner="b")] * 1000
    found = by_name(votes)
    assert found["a"].rating - found["b"].rating == pytest.approx(400 * math.log10(3), abs=0.5)
    assert (found["a"].rating + found["b"].rating) / 2 == pytest.approx(BASE)
    assert (found["a"].votes, found["a"].wins) == (4000, 3000)
    assert (found["b"].votes, found["b"].wins) == (4000, 1000)


def test_the_slope_is_nought_where_the_fit_ends() -> None:
    """At the maximum the expected wins are the wins, but for the prior's pull."""
    wins = np.array([[0.0, 7.0, 2.0], [3.0, 0.0, 5.0], [1.0, 4.0, 0.0]])
    strengths, _ = fit(wins)
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    pull = (SCALE / 600) ** 2 * strengths
    assert ((wins + wins.T) * chances).sum(axis=1) + pull == pytest.approx(wins.sum(axis=1))


def test_ties_and_none_good_are_half_wins() -> None:
    for winner in ("", None):
        found = by_name([vote("a", "b", winner="a"), vote("a", "b", winner=winner)])
        same = by_name([vote("a", "b", winner="a"), vote("a", "b", winner="")])
        assert found == same
        assert found["a"].wins == 1.5
    level = by_name([vote("a", "b", winner="a"), vote("a", "b", winner="b")])
    assert level["a"].rating == pytest.approx(BASE)
    tied = by_name([vote("a", "b")] * 2)
    assert tied["a"].rating == pytest.approx(level["a"].rating)
    assert tied["a"].high == pytest.approx(level["a"].high)


def test_a_perfect_winner_has_a_finite_rating_with_a_wide_interval() -> None:
    votes = [vote("best", "worst", winner="best")] * 20
    found = by_name(votes)
    best, worst = found["best"], found["worst"]
    assert BASE < best.rating < BASE + 1200
    assert best.low < best.rating < best.high
    assert best.high - best.low > 300
    assert worst.rating == pytest.approx(2 * BASE - best.rating)
    assert by_name(votes * 10)["best"].rating > best.rating


def test_groups_that_never_met_share_the_origin() -> None:
    votes = [vote("a", "b", winner="a")] * 30 + [vote("c", "d")] * 30
    found = by_name(votes)
    assert [standing.model for standing in standings(votes)] == ["a", "c", "d", "b"]
    together = by_name([*votes, *[vote("a", "c"), vote("b", "d")] * 30])
    assert found["c"].high - found["c"].low > 2 * (together["c"].high - together["c"].low)
    assert found["c"].rating == pytest.approx(BASE)
    assert found["d"].rating == pytest.approx(BASE)
    assert all(math.isfinite(value.high) for value in found.values())


def test_more_votes_narrow_the_interval() -> None:
    once = [vote("a", "b", winner="a"), vote("a", "b", winner="b")]
    widths = [found.high - found.low for found in (by_name(once * n)["a"] for n in (1, 10, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 400
    # 2000 level votes hold 500 units of information on a difference, of which each has a half.
    assert widths[-1] == pytest.approx(2 * 1.96 * SCALE / math.sqrt(500) / 2, rel=0.01)


def test_the_order_of_votes_and_columns_does_not_matter() -> None:
    votes = [vote("a", "b", winner="a"), vote("b", "c", winner="c"), vote("a", "c")] * 3
    turned = [vote(*reversed(v.models), winner=v.winner) for v in reversed(votes)]
    ours, theirs = by_name(votes), by_name(turned)
    for name, standing in ours.items():
        assert theirs[name].rating == pytest.approx(standing.rating)


def test_the_best_of_many_beats_them_all_at_once() -> None:
    votes = [vote("a", "b", "c", "d", winner="a")] * 40
    found = by_name(votes)
    assert standings(votes)[0].model == "a"
    assert found["b"].rating == pytest.approx(found["d"].rating)
    assert found["a"].votes == found["b"].votes == 40
    # One decision, not three: less certain than 3 votes over two models each would be.
    pairs = [vote("a", other, winner="a") for other in "bcd"] * 40
    assert found["a"].rating < by_name(pairs)["a"].rating


TRUE = {"a": 1200.0, "b": 1050.0, "c": 950.0, "d": 800.0}


def simulated(chance: random.Random, count: int) -> list[Vote]:
    """Votes over pairs of models that are as good as `TRUE` says."""
    votes = []
    for _ in range(count):
        one, other = chance.sample(sorted(TRUE), 2)
        wins = chance.random() < 1 / (1 + 10 ** ((TRUE[other] - TRUE[one]) / 400))
        votes.append(vote(one, other, winner=one if wins else other))
    return votes


def test_ratings_are_found_again_from_simulated_votes() -> None:
    found = by_name(simulated(random.Random(3), 4000))
    for name, rating in TRUE.items():
        assert found[name].rating == pytest.approx(rating, abs=30)


def test_intervals_hold_the_truth_19_times_of_20() -> None:
    chance, held = random.Random(4), 0
    for _ in range(100):
        found = by_name(simulated(chance, 200))
        held += sum(found[name].low < rating < found[name].high for name, rating in TRUE.items())
    assert 0.91 < held / 400 < 0.985


def test_models_with_few_votes_are_marked() -> None:
    found = by_name([vote("a", "b", winner="a")] * (FEW - 1) + [vote("a", "c", winner="a")])
    assert not found["a"].few
    assert found["b"].few
    assert found["c"].few
