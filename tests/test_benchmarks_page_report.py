"""What the page's benchmark makes of its rounds: figures, limits, documentation, exit codes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    # benchmarks/ belongs to no distribution.
    sys.path.append(str(ROOT))

from benchmarks import page, page_paint, page_report, page_run, report  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.gateways import BenchmarkError  # noqa: E402

PLAN = page_run.Plan(rounds=2, people=3, answers=1, seconds=1.0)


def rounds(browser: bool = True) -> list[page_run.Round]:
    """Two rounds, the second of which takes twice as long in everything."""
    made = []
    for k in (1, 2):
        one = page_run.Round(0.4 * k, 5.0 * k)
        if browser:
            one.browser = "1.2"
            for think, took in ((page_run.THINKING, 0.02), (page_run.AT_ONCE, 0.1)):
                one.paints[think] = [
                    page_paint.Paint(took * k, took * k + 0.01, took * k + more)
                    for more in (0.02, 0.02, 0.08)
                ]
        one.alone = [{"p50": 5e-4, "p99": 1e-3}, {"p50": 1e-4, "p99": 2e-4}]
        one.meanwhile = [{"p50": 1e-3 * k, "p99": 3e-3 * k}, {"p50": 1e-4, "p99": 2e-4}]
        one.people = {"gap": {"p50": 0.2 * k, "p99": 0.25 * k}, "worst": 0.3 * k, "failures": {}}
        made.append(one)
    return made


def test_figures_are_medians_of_the_rounds() -> None:
    found = {line.figure.name: line.value for line in page_report.lines(rounds())}
    middle = {name: round(value.median, 3) for name, value in found.items() if value}
    assert middle["start to the API's first completion"] == 0.6
    assert middle["its frame drawn, thinks"] == 50
    assert middle["its frame drawn, slowest, thinks"] == 110
    assert middle["its frame drawn, at once"] == 170
    assert middle["longest gap that anybody saw"] == 450
    assert middle["API meanwhile / alone p50"] == 3
    assert middle["API meanwhile / alone p99"] == 4.5
    assert middle["no relay, meanwhile / alone p50"] == 1
    assert set(middle) == set(found)


# Each limit, and the median of what it guards.
AT = {
    "max_api_start": 0.6, "max_page_start": 7.5, "max_first_paint": 50, "max_instant_paint": 170,
    "max_gap": 375, "max_worst_gap": 450, "max_api_ratio": 3, "max_api_p99_ratio": 4.5,
}  # fmt: skip


def test_every_limit_is_tried_here() -> None:
    assert set(AT) == {figure.option for figure in page_report.GUARDED}


@pytest.mark.parametrize("option", AT)
def test_a_limit_holds(option: str) -> None:
    found = page_report.lines(rounds())
    assert page_report.beyond(found, {option: AT[option] * 1.01}) == []
    [complaint] = page_report.beyond(found, {option: AT[option] * 0.99})
    assert f"limit {AT[option] * 0.99:g}" in complaint


def test_a_limit_does_not_pass_what_was_not_measured() -> None:
    found = page_report.lines(rounds(browser=False))
    assert page_report.beyond(found, dict.fromkeys(AT)) == []
    [complaint] = page_report.beyond(found, {"max_first_paint": 1000.0})
    assert complaint == "its frame drawn, thinks was not measured"


def test_the_document_has_both_places_and_keeps_what_is_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "performance.md"
    before = report.DOCUMENT.read_text("utf-8")
    document.write_text(before, "utf-8")
    monkeypatch.setattr(report, "DOCUMENT", document)
    page_report.write(page_report.lines(rounds()), rounds(), PLAN, "today", "0.1")
    after = document.read_text("utf-8")
    assert "| its frame drawn, thinks, ms | 50 (40 to 60) |" in after
    assert "Measured on today: medians of 2 rounds" in after
    assert "Chromium 1.2" in after

    def around(text: str) -> list[str]:
        first, _, rest = text.partition(page_report.BEGIN)
        return [first, rest.partition(page_report.END)[2]]

    assert around(after) == around(before)
    assert report.BEGIN in around(after)[0]
    document.write_text("nothing", "utf-8")
    with pytest.raises(BenchmarkError, match="no place for results"):
        page_report.write(page_report.lines(rounds()), rounds(), PLAN, "today", "0.1")


def started(
    monkeypatch: pytest.MonkeyPatch, found: list[page_run.Round], missing: str = ""
) -> None:
    monkeypatch.setattr(page_run, "run", lambda plan, say: found)
    monkeypatch.setattr(page_run, "no_browser", lambda: missing)


def test_the_command_fails_above_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, rounds())
    good = CliRunner().invoke(main, ["page", "--max-first-paint", "51", "--max-api-start", "1.5"])
    assert good.exit_code == 0, good.output
    bad = CliRunner().invoke(main, ["page", "--max-first-paint", "49"])
    assert bad.exit_code == page.FAILED
    assert "limit 49" in bad.output


def test_a_wrong_answer_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rounds()
    found[1].people["failures"] = {"tokens lost, doubled or out of order": 4}
    started(monkeypatch, found)
    result = CliRunner().invoke(main, ["page"])
    assert result.exit_code == page.FAILED
    assert "round 2: tokens lost, doubled or out of order (4)" in result.output


def test_without_a_browser_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, rounds(browser=False), "nowhere")
    result = CliRunner().invoke(main, ["page"])
    assert (result.exit_code, "Painting is left out: nowhere" in result.output) == (0, True)
    result = CliRunner().invoke(main, ["page", "--write-docs"])
    assert (result.exit_code, "needs a browser: nowhere" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["page", "--write-docs", "--quick"], "--write-docs takes a whole run"),
        (["page", "--write-docs", "--people", "5"], "--write-docs takes a whole run"),
        (["--quick", "page"], "options go behind page"),
    ],
)
def test_what_cannot_be_run_is_said(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert words in result.output
