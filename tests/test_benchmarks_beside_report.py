"""What the benchmark beside other gateways makes of its turns: figures, goals, documentation."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import (  # noqa: E402
    beside,
    beside_goals,
    beside_plot,
    beside_report,
    beside_run,
    beside_summary,
    load,
    peer_rows,
    report,
)
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.beside_summary import Summary  # noqa: E402
from benchmarks.client import CLOSED, LOST  # noqa: E402
from benchmarks.hold import Held  # noqa: E402
from benchmarks.our_rows import ROWS  # noqa: E402
from benchmarks.summary import Spread  # noqa: E402

# Of each row, in microseconds: a token, a request, a plain answer's and a first token's time.
COSTS = {
    "direct": (None, None, 100, 200),
    "nginx": (20, 30, 150, 500),
    "vllm-router": (30, 60, 200, 700),
    "reference": (40, 60, 250, 900),
    "h2o-keys": (30, 90, 190, 800),
    "h2o-ollama": (40, 120, 250, 1500),
}
STREAMS = 5000


def found(**late: int) -> beside_run.Found:
    """Two rounds on a machine that is twice as slow in the second; ratios are the same."""
    made = beside_run.Found(skipped={"litellm": "first line\nno wheel"})
    for number in (0, 1):
        for row, (token, request, plain, first) in COSTS.items():
            turn = beside_run.BesideTurn(row, number, cold=0.5, idle=40, peak=60)
            turn.results = results(number + 1, token, request, plain, first)
            turn.results["p100"].failures = dict(late)
            if not number:
                turn.before = 40.0
                turn.held = Held(STREAMS, STREAMS, STREAMS, 0, 1.1, 5.0, 40 + 5000 / 64)
            if token is None:
                turn.cold = turn.idle = turn.peak = turn.before = None
            made.turns.append(turn)
    return made


def results(
    slow: int, token: int | None, request: int | None, plain: int, first: int
) -> dict[str, load.Result]:
    def spent(each: int | None) -> float | None:
        return None if each is None else each * slow / 1000

    return {
        "p100": load.Result("p100", 10, 1000, 1.0, spent(token),
                            first_token={"p50": first * slow / 1e6, "p99": 0.01}),
        "ns64": load.Result("ns64", 1000, 0, 1.0, spent(request)),
        "ns1": load.Result("ns1", 50, 0, 1.0, latency={"p50": plain * slow / 1e6, "p99": 0.01}),
        "st16": load.Result("st16", 10, 5000, 0.5),
        "p1000": load.Result("p1000", 1000, 40000, 1.0, done=1.0),
    }  # fmt: skip


def test_figures_are_medians_and_ratios_are_within_a_round() -> None:
    summary = Summary(found().turns)
    assert summary.value("token", "h2o-keys") == Spread(45, 30, 60)
    assert summary.ratio("token", "h2o-keys", "nginx") == Spread(1.5, 1.5, 1.5)
    assert summary.ratio("request", "h2o-keys", "reference") == Spread(1.5, 1.5, 1.5)
    latency = summary.ratio("latency", "h2o-keys", "nginx")
    assert latency is not None
    # What is added, to what is added: 90 µs to 50 µs.
    assert latency.median == pytest.approx(1.8)
    assert summary.value("requests", "nginx") == Spread(1000, 1000, 1000)
    assert summary.value("unpaced", "nginx") == Spread(10, 10, 10)
    each = summary.value("each", "nginx")
    assert each is not None
    assert each.median == pytest.approx(16)


def test_what_was_not_measured_has_no_figure() -> None:
    summary = Summary(found().turns)
    assert summary.value("token", "direct") is None
    assert summary.value("latency", "direct") is None
    assert summary.ratio("token", "h2o-keys", "litellm") is None
    alone = Summary([turn for turn in found().turns if turn.gateway == "nginx"])
    assert alone.value("latency", "nginx") is None
    assert alone.ratio("token", "nginx", "reference") is None


def test_memory_of_few_streams_is_not_a_streams_memory() -> None:
    made = found()
    for turn in made.turns:
        if turn.held is not None:
            turn.held.begun = STREAMS // 2 - 1
    assert Summary(made.turns).value("each", "nginx") is None


def test_a_difference_below_zero_has_no_ratio() -> None:
    made = found()
    for turn in made.turns:
        if turn.gateway == "nginx":
            turn.results["ns1"].latency["p50"] = 1e-6
    assert Summary(made.turns).ratio("latency", "h2o-keys", "nginx") is None


def test_where_the_load_may_be_the_limit_it_is_said() -> None:
    made = found()
    for turn in made.turns:
        if turn.gateway not in ("direct", "nginx"):
            turn.results["ns64"].requests = 800
            turn.results["st16"].tokens = 1000
    assert Summary(made.turns).limited() == [
        "nginx, requests/s, ns64: 1.00 of direct",
        "nginx, tokens/s, st16: 1.00 of direct",
    ]


def test_goals_are_held_against_ratios() -> None:
    summary = Summary(found().turns)
    assert list(beside_goals.missed(summary)) == []
    token, translating, request = beside_goals.GOALS[:3]
    assert beside_goals.reached(summary, token, token.must)
    assert not beside_goals.reached(summary, token, token.goal)
    assert beside_goals.reached(summary, translating, translating.must)
    assert beside_goals.reached(summary, request, request.must)
    assert not beside_goals.reached(summary, request, request.goal)


# What a row must not do, and the goals that it then misses.
WORSE = {
    "token": ("p100", "cpu", 3.0, "CPU of a token, p100"),
    "request": ("ns64", "cpu", 9.0, "CPU of a request, ns64"),
    "latency": ("ns1", "latency", {"p50": 0.01}, "added p50, ns1"),
    "first": ("p100", "first_token", {"p50": 0.01}, "added first token p50, p100"),
    "done": ("p1000", "done", 0.999, "answers in time, p1000"),
    "paced": ("p1000", "tokens", 37000, "tokens/s, p1000"),
    "unpaced": ("st16", "tokens", 4000, "tokens/s, st16"),
}


@pytest.mark.parametrize("name", WORSE)
def test_a_goal_can_be_missed(name: str) -> None:
    scenario, field, value, title = WORSE[name]
    made = found()
    for turn in made.turns:
        if turn.gateway == "h2o-keys":
            setattr(turn.results[scenario], field, value)
    [complaint] = beside_goals.missed(Summary(made.turns))
    assert complaint.startswith(f"{title}, h2o-keys: ")


def test_a_goal_of_a_process_can_be_missed() -> None:
    made = found()
    for turn in made.turns:
        if turn.gateway == "h2o-keys":
            turn.cold, turn.idle, turn.peak = 2.0, 81.0, 131.0
            if turn.held is not None:
                turn.held.held -= 1
    names = [complaint.partition(",")[0] for complaint in beside_goals.missed(Summary(made.turns))]
    assert names == [
        "streams held", "start to first answer", "memory before", "memory at its peak"
    ]  # fmt: skip


def test_a_goal_is_not_reached_by_what_was_not_measured() -> None:
    complaints = list(beside_goals.missed(Summary([])))
    assert len(complaints) == len(beside_goals.GOALS)
    assert all(complaint.endswith("was not measured") for complaint in complaints)


@pytest.mark.parametrize(
    ("row", "what", "wrong"),
    [
        ("h2o-keys", LOST, True),
        ("h2o-keys", CLOSED, True),
        ("h2o-keys", "status 500", True),
        ("h2o-keys", load.LATE, False),
        ("nginx", LOST, True),
        ("nginx", "incomplete answer", True),
        ("nginx", CLOSED, False),
        ("nginx", "status 503", False),
        ("nginx", load.LATE, False),
    ],
)
def test_what_is_wrong_and_what_is_a_figure(row: str, what: str, wrong: bool) -> None:
    turn = beside_run.BesideTurn(row, 0)
    turn.results["p100"] = load.Result("p100", 1, 1, 1.0, failures={what: 3})
    made = beside_run.Found([turn])
    line = f"{row}, round 1, p100: {what} (3)"
    assert beside_summary.failures(made) == ([line] if wrong else [])
    assert beside_summary.remarks(made.turns) == [line]


def test_wrong_tokens_in_streams_that_are_held_are_a_failure() -> None:
    turn = beside_run.BesideTurn("nginx", 0, held=Held(10, 10, 8, 2, 1.0, 5.0))
    assert beside_summary.failures(beside_run.Found([turn])) == [f"nginx, held: {LOST} (2)"]
    [remark] = beside_summary.remarks([turn])
    assert remark == "nginx, round 1, held: 2 of 10 streams stalled or ended"


ABOUT = beside_report.About(
    "a machine", {"Python": "3"}, 2, "today", "0.1", True, {"p100": 6.0}, STREAMS
)


GOAL_LINE = (
    "| CPU of a token, p100, h2o-keys | ≤ 1.7 times nginx | 1.50 | yes "
    "| ≤ 1.1 times nginx | 1.50 | no |"
)


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the documentation that may be written; the plot is beside it."""
    copy = tmp_path / "performance.md"
    copy.write_text(report.DOCUMENT.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", copy)
    monkeypatch.setattr(beside_report, "PLOT", tmp_path / "plot.svg")
    return copy


def test_the_document_has_a_place_for_them(document: Path) -> None:
    before = document.read_text("utf-8")
    made = found()
    beside_report.write(made, Summary(made.turns), ABOUT)
    after = document.read_text("utf-8")
    for text in (
        "| nginx | 30.0 (20.0 to 40.0) | 1.00 | 0.50 | 45.0 (30.0 to 60.0) | 1.00 | 0.50 |",
        GOAL_LINE,
        "- Left out: litellm: no wheel.",
        f"- Row `nginx`: {ROWS['nginx'].about}.",
        "](images/gateways.svg)",
    ):
        assert text in after

    def around(text: str) -> list[str]:
        first, _, rest = text.partition(beside_report.BEGIN)
        return [first, rest.partition(beside_report.END)[2]]

    assert around(after) == around(before)
    assert report.BEGIN in after
    again = document.read_text("utf-8")
    beside_report.write(made, Summary(made.turns), ABOUT)
    assert document.read_text("utf-8") == again


def test_the_plot_has_a_bar_for_each_figure() -> None:
    made = found()
    tree = ElementTree.fromstring(beside_plot.draw(Summary(made.turns)))
    space = {"svg": "http://www.w3.org/2000/svg"}
    texts = [text.text for text in tree.findall("svg:text", space)]
    rows = [row for row in COSTS if row != "direct"]
    assert [text for text in texts if text in ROWS] == rows
    bars = [one for one in tree.findall("svg:rect", space) if one.get("x")]
    assert len(bars) == 2 * len(rows)
    widths = {row: float(bar.get("width", 0)) for row, bar in zip(rows, bars, strict=False)}
    assert widths["nginx"] < widths["vllm-router"] == widths["h2o-keys"] < widths["h2o-ollama"]
    assert {"1.00", "1.50", "2.00", "3.00", "4.00"} <= set(texts)


def test_the_plot_does_without_figures() -> None:
    ElementTree.fromstring(beside_plot.draw(Summary([])))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[beside_run.Plan]:
    """The command's plans; it measures nothing."""
    plans: list[beside_run.Plan] = []

    def run(plan: beside_run.Plan, say: beside_run.Say) -> beside_run.Found:
        plans.append(plan)
        return found()

    monkeypatch.setattr(beside_run, "run", run)
    monkeypatch.setattr(beside.cpu, "supported", lambda: True)
    monkeypatch.setattr(beside_run, "room_for", lambda streams: streams)
    return plans


def test_the_command(ran: list[beside_run.Plan], tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    result = CliRunner().invoke(main, ["gateways", "--must", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "What must be reached" in result.output
    assert file.stat().st_size > 1000
    result = CliRunner().invoke(main, ["gateways", "--quick", "--row", "nginx", "--row", "h2o"])
    assert result.exit_code == 0, result.output
    whole, quick = ran
    assert (whole.rounds, whole.streams, len(whole.rows)) == (3, STREAMS, len(ROWS))
    assert (quick.rounds, quick.streams, len(quick.rows)) == (1, 0, 2)
    assert set(quick.seconds) < set(whole.seconds)


def test_the_command_fails(ran: list[beside_run.Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = found()
    for turn in slow.turns:
        if turn.gateway == "h2o-keys":
            turn.cold = 9.0
    monkeypatch.setattr(beside_run, "run", lambda plan, say: slow)
    assert CliRunner().invoke(main, ["gateways"]).exit_code == 0
    result = CliRunner().invoke(main, ["gateways", "--must"])
    assert result.exit_code == beside.FAILED
    assert "start to first answer, h2o-keys: 9.00, and must be ≤ 1.5 s" in result.output
    monkeypatch.setattr(beside_run, "run", lambda plan, say: found(**{LOST: 1}))
    assert CliRunner().invoke(main, ["gateways"]).exit_code == beside.FAILED


def test_wrong_answers_are_not_written(ran: list[beside_run.Plan], document: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = document.read_text("utf-8")
    monkeypatch.setattr(beside_run, "run", lambda plan, say: found(**{LOST: 1}))
    CliRunner().invoke(main, ["gateways", "--write-docs"])
    assert document.read_text("utf-8") == before
    monkeypatch.setattr(beside_run, "run", lambda plan, say: found())
    CliRunner().invoke(main, ["gateways", "--write-docs"])
    assert document.read_text("utf-8") != before


@pytest.mark.parametrize("more", [["--quick"], ["--row", "h2o"], ["--streams", "10"]])
def test_the_documentation_takes_a_whole_run(ran: list[beside_run.Plan], more: list[str]) -> None:
    result = CliRunner().invoke(main, ["gateways", "--write-docs", *more])
    assert result.exit_code == 2
    assert "takes a whole run" in result.output
    assert ran == []


def test_every_row_is_somebodys() -> None:
    peers = {row.name for row in peer_rows.PEERS}
    assert {name for name in ROWS if not beside_run.ours(name)} == peers
