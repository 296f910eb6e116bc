"""What a token and a request cost beside the bare relay, in the same run: no more than lately.

Times differ from machine to machine and from minute to minute; the ratio to a relay that runs
beside it under the same load differs less. One good round of a few is enough: noise makes a round
worse, never better by as much as a mistake costs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import cpu  # noqa: E402
from benchmarks.layers import OTHER, layer_of, shares  # noqa: E402
from benchmarks.our_rows import ROWS  # noqa: E402
from benchmarks.run import Plan, run  # noqa: E402

ROUNDS = 3
SECONDS = {"p100": 2.5, "ns64": 1.5}
LIMITS = {
    ("h2o", "p100"): 1.2,
    ("h2o", "ns64"): 2.3,
    ("h2o-keys", "p100"): 1.2,
    ("h2o-keys", "ns64"): 2.6,
}
"""What a quiet machine showed of such short rounds (0.95, 1.51, 0.94, 1.71), and a quarter more per
token, a half more per request."""
Ratios = dict[tuple[str, str], float]


def measured() -> Ratios:
    """One round: CPU time of each row, for a token and for a request, to the bare relay's."""
    rows = [ROWS[name] for name in ("reference", "h2o", "h2o-keys")]
    cost: Ratios = {}
    for turn in run(Plan(rows, 1, SECONDS), print):
        for scenario, result in turn.results.items():
            assert not result.failures, (turn.gateway, scenario, result.failures)
            assert result.cpu is not None
            cost[turn.gateway, scenario] = result.cpu / (result.tokens or result.requests)
    return {
        (row, scenario): each / cost["reference", scenario]
        for (row, scenario), each in cost.items()
        if row != "reference"
    }


@pytest.mark.timeout(300)
@pytest.mark.skipif(not cpu.supported(), reason="CPU time is read from /proc")
def test_they_cost_no_more_than_lately() -> None:
    best: Ratios = {}
    for _ in range(ROUNDS):
        found = measured()
        best = {about: min(ratio, best.get(about, ratio)) for about, ratio in found.items()}
        print({about: round(ratio, 2) for about, ratio in found.items()})
        if all(best[about] <= limit for about, limit in LIMITS.items()):
            return
    dearer = {about: ratio for about, ratio in best.items() if ratio > LIMITS[about]}
    pytest.fail(f"CPU time, to the bare relay's: {dearer}, at most {LIMITS} is allowed")


HOT = (
    "core/h2o_relay", "core/h2o_relay/accounting", "core/h2o_relay/store", "core/h2o_relay/routing",
    "core/h2o_relay/prompts", "proxy/h2o_relay_proxy", "proxy/h2o_relay_proxy/seeing",
)  # fmt: skip


@pytest.mark.parametrize("folder", HOT)
def test_what_requests_pass_is_in_a_part_of_the_profile(folder: str) -> None:
    files = list((ROOT / folder).glob("*.py"))
    assert files
    for file in files:
        assert layer_of(f"{'/'.join(file.parts[-2:])}:1 f") != OTHER, file


def test_shares_are_of_all_samples() -> None:
    found = shares({"h2o_relay/http.py:1 a": 3, "h2o_relay/http.py:9 b": 2, "x/y.py:1 z": 5})
    assert found == {"the server's connection: writing, parsing, pool": 0.5, OTHER: 0.5}
