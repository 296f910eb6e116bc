"""Ratings of models from votes: the Bradley-Terry model, on a scale like Elo's.

The chance that model i is preferred to model j is 1 / (1 + 10^((R_j - R_i) / 400)), which is the
model of Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (Biometrika 39, 1952), in
the units of Elo, "The Rating of Chessplayers" (1978). Ratings are found by maximum likelihood, as
Chiang et al., "Chatbot Arena" (arXiv:2403.04132) do for chat models; unlike Elo's updates they do
not depend on the order of the votes. A tie is half a win for both (Glickman, "Parameter estimation
in large dynamic paired comparison experiments", 1999, has it so too).

A normal prior of `SPREAD` points around `BASE` keeps the ratings finite where a model never lost,
and gives them a common origin where two groups of models never met. The 95 % interval is the normal
approximation from the observed Fisher information, the prior's included. It is that of the distance
from the mean of all models, which is `BASE` by definition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from h2o_relay.store import Vote

BASE = 1000.0  # points
SCALE = 400.0 / math.log(10.0)  # points for each unit of the logistic scale
SPREAD = 600.0  # points: the prior's standard deviation
NORMAL_95 = 1.959964
FEW = 10  # votes below which a rating says little
STEPS = 100
CLOSE = 1e-9
Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's place; `rating`, `low` and `high` are points."""

    model: str
    rating: float
    low: float
    high: float
    votes: int
    """Votes in which it took part."""
    wins: float
    """Votes that it won, a tie as a half."""

    @property
    def few(self) -> bool:
        return self.votes < FEW


def standings(votes: Iterable[Vote]) -> list[Standing]:
    """The models of all votes, the best first."""
    contests = [contest for contest in map(_contest, votes) if contest is not None]
    names = sorted({name for models, _ in contests for name in models})
    if not names:
        return []
    strengths, variances = fit(_wins(contests, {name: at for at, name in enumerate(names)}))
    found = []
    for name, strength, variance in zip(names, strengths, variances, strict=True):
        rating = BASE + SCALE * float(strength)
        margin = NORMAL_95 * SCALE * math.sqrt(float(variance))
        shares = [_share(name, winner) for models, winner in contests if name in models]
        found.append(
            Standing(name, rating, rating - margin, rating + margin, len(shares), sum(shares))
        )
    return sorted(found, key=lambda standing: (-standing.rating, standing.model))


def fit(wins: Matrix) -> tuple[Matrix, Matrix]:
    """Strengths, on the logistic scale, whose mean is 0, and their variances.

    `wins` is square: how often the model of the row was preferred to that of the column. Newton's
    method on a strictly concave likelihood, each step halved until it is an improvement.
    """
    prior = (SCALE / SPREAD) ** 2
    strengths = np.zeros(len(wins))
    value = _likelihood(wins, strengths, prior)
    information = _information(wins, strengths, prior)
    for _ in range(STEPS):
        slope = _slope(wins, strengths, prior)
        step = np.linalg.solve(information, slope)
        while (new := _likelihood(wins, strengths + step, prior)) < value:
            step = step / 2
            if np.abs(step).max() < CLOSE:
                break
        strengths, value = strengths + step, new
        information = _information(wins, strengths, prior)
        if np.abs(step).max() < CLOSE:
            break
    return strengths, np.diag(_around_mean(np.linalg.inv(information)))


def _contest(vote: Vote) -> tuple[tuple[str, ...], str] | None:
    """The models of a vote, each once, and the winner, "" where there is none.

    That none was good says as little about which is better as a tie does.
    """
    models = tuple(dict.fromkeys(vote.models))
    winner = vote.winner or ""
    return (models, winner) if len(models) > 1 and (not winner or winner in models) else None


def _share(name: str, winner: str) -> float:
    """What a vote is worth to one of its models."""
    return 0.5 if not winner else float(winner == name)


def _wins(contests: Sequence[tuple[tuple[str, ...], str]], place: dict[str, int]) -> Matrix:
    """Contests as pairs.

    The best of n beats n-1 others in one decision. Each pair weighs 2/n, with which the pairs hold
    as much information as the choice of one of n does where all are equally good (Luce's model).
    """
    wins = np.zeros((len(place), len(place)))
    for models, winner in contests:
        weight = 2.0 / len(models)
        for one, other in itertools.combinations(models, 2):
            i, j = place[one], place[other]
            if winner == one:
                wins[i, j] += weight
            elif winner == other:
                wins[j, i] += weight
            elif not winner:
                wins[i, j] += weight / 2
                wins[j, i] += weight / 2
    return wins


def _chances(strengths: Matrix) -> Matrix:
    """That the row's model is preferred to the column's."""
    return 1.0 / (1.0 + np.exp(np.clip(strengths[None, :] - strengths[:, None], -700, 700)))


def _likelihood(wins: Matrix, strengths: Matrix, prior: float) -> float:
    difference = strengths[None, :] - strengths[:, None]
    return float(-(wins * np.logaddexp(0.0, difference)).sum() - prior / 2 * (strengths**2).sum())


def _slope(wins: Matrix, strengths: Matrix, prior: float) -> Matrix:
    expected = (wins + wins.T) * _chances(strengths)
    missing = (wins - expected).sum(axis=1)
    return np.asarray(missing - prior * strengths, dtype=np.float64)


def _information(wins: Matrix, strengths: Matrix, prior: float) -> Matrix:
    """The negative second derivative of the log-likelihood."""
    chances = _chances(strengths)
    weights = (wins + wins.T) * chances * (1.0 - chances)
    diagonal = np.diag(weights.sum(axis=1) + prior)
    return np.asarray(diagonal - weights, dtype=np.float64)


def _around_mean(covariance: Matrix) -> Matrix:
    """Of the strengths less their mean."""
    centre = np.eye(len(covariance)) - 1.0 / len(covariance)
    return np.asarray(centre @ covariance @ centre, dtype=np.float64)
