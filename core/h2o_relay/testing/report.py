"""A pytest plugin that runs one plugin's suites and writes down how that went.

    python -m pytest -p h2o_relay.testing.report --relay-plugin vllm --relay-report out.json FILE

Of the tests that are collected, those of suites are run; of all plugins', if none is named. The
report is JSON: `suites` (`plugin`, `name`, `declared`: see `declared.describe`, `problem`: why that
is not known), `tests` (`suite`, `name`, `check`, `outcome`, `reason`) and `errors` (what could not
be collected).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

import orjson
import pytest

from ..errors import RelayError
from .declared import describe
from .suite.checks import check_of
from .suite.parsing import ParsingTests

LINES = 6  # of what a failed test says
ERROR_MARK = "E   "


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("h2o relay")
    group.addoption("--relay-plugin", help="run the conformance suites of this plugin only")
    group.addoption("--relay-report", help="write a report in JSON to this file")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("relay_report"):
        report = Report(config.getoption("relay_plugin"), Path(config.getoption("relay_report")))
        config.pluginmanager.register(report, "h2o_relay_report")


class Report:
    """Collects what happens, and writes it down at the end."""

    def __init__(self, plugin: str | None, path: Path) -> None:
        self.plugin = plugin
        self.path = path
        self.suites: dict[str, dict[str, Any]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.errors: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        mine, others = [], []
        for item in items:
            suite = getattr(item, "cls", None)
            if _is_suite(suite) and self.plugin in (None, suite.plugin):
                self._add(suite, item)
                mine.append(item)
            else:
                others.append(item)
        items[:] = mine
        config.hook.pytest_deselected(items=others)

    def _add(self, suite: type[ParsingTests], item: pytest.Item) -> None:
        name = getattr(item, "originalname", item.name)
        self.tests[item.nodeid] = {
            "suite": suite.__name__, "name": item.name, "check": check_of(name),
            "outcome": None, "reason": "",
        }  # fmt: skip
        if suite.__name__ in self.suites:
            return
        problem = None
        try:
            declared = describe(suite().plugins(), suite.plugin, suite.documented)
        except RelayError as error:
            problem, declared = f"{suite.__name__}: {error.message}", {}
        self.suites[suite.__name__] = {
            "plugin": suite.plugin, "name": suite.__name__, "declared": declared,
            "problem": problem,
        }  # fmt: skip

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests[report.nodeid]
        told = report.when == "call" or report.outcome != "passed"
        if told and test["outcome"] != "failed":
            test.update(outcome=report.outcome, reason=_reason(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        written = {
            "suites": list(self.suites.values()),
            "tests": list(self.tests.values()),
            "errors": self.errors,
        }
        self.path.write_bytes(orjson.dumps(written))


def _is_suite(found: Any) -> TypeGuard[type[ParsingTests]]:
    return isinstance(found, type) and issubclass(found, ParsingTests)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped or failed, in a few lines; '' if it passed."""
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):  # path, line, "Skipped: why"
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    lines = report.longreprtext.splitlines()
    said = [line.removeprefix(ERROR_MARK) for line in lines if line.startswith(ERROR_MARK)]
    return "\n".join((said or lines[-LINES:])[:LINES]).strip()
