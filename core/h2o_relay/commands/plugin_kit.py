"""Running plugins' conformance suites, each in a process of its own."""

from __future__ import annotations

import json
import os.path
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..settings import environment
from .failures import Failure
from .plugin_suites import NoSuite, Suites, find

if TYPE_CHECKING:
    from ..plugins import PluginInfo

SETTINGS = Path(__file__).parents[1] / "testing" / "kit.ini"
NEEDED = ("pytest", "pytest_asyncio")
WORKED = (0, 1)  # pytest's exit codes: all passed, some failed
SHOWN = 12  # lines of what a run says that broke off
OWN = "H2O_"


@dataclass(slots=True)
class Result:
    """How a plugin did. `problem` says why its suite was not run, or not to its end."""

    info: PluginInfo
    problem: str | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    tests: Sequence[Mapping[str, Any]] = ()

    def of(self, outcome: str) -> list[Mapping[str, Any]]:
        return [test for test in self.tests if test["outcome"] == outcome]

    @property
    def failed_checks(self) -> list[str]:
        return list(dict.fromkeys(test["check"] for test in self.of("failed")))

    @property
    def good(self) -> bool:
        return self.problem is None and not self.of("failed") and bool(self.of("passed"))


def need_pytest() -> None:
    """Raises Failure if the suites cannot be run here."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise Failure(
            f"the conformance kit needs {' and '.join(missing)}, which this environment has not",
            'install them with: pip install "h2o-relay[testing]"',
        )


def check(info: PluginInfo, limit: float) -> Result:
    """Run a plugin's suites, for at most `limit` seconds."""
    if info.error is not None:
        return Result(info, f"it does not load: {info.error}")
    try:
        suites = find(info)
    except NoSuite as error:
        return Result(info, f"it has no conformance suite: {error}")
    report, said = _run([suites], limit, ["--relay-plugin", info.name])
    if report is None:
        return Result(info, f"its suite did not end well: {said}")
    undeclared = [suite["problem"] for suite in report["suites"] if suite["problem"]]
    problem = "; ".join([*report["errors"], *undeclared]) or None
    if problem is None and not report["tests"]:
        files = ", ".join(file.name for file in suites.files)
        problem = f"{files}: no subclass of BackendSuite or LocalSuite has plugin = {info.name!r}"
    declared = report["suites"][0]["declared"] if report["suites"] else {}
    return Result(info, problem, declared, report["tests"])


def declare(infos: Iterable[PluginInfo], limit: float) -> list[Result]:
    """What plugins declare over the strings that their suites document; no test is run."""
    found: dict[str, Suites] = {}
    results = {info.name: Result(info) for info in infos}
    for result in results.values():
        try:
            if result.info.error is None:
                found[result.info.name] = find(result.info)
        except NoSuite as error:
            result.problem = f"it has no conformance suite: {error}"
    if found:
        report, said = _run(list(found.values()), limit, ["--collect-only"])
        if report is None or report["errors"]:
            reasons = [said] if report is None else report["errors"]
            raise Failure(f"the suites cannot be read: {'; '.join(reasons)}")
        for suite in report["suites"]:
            if suite["plugin"] in results:
                result = results[suite["plugin"]]
                result.declared = suite["declared"]
                result.problem = result.problem or suite["problem"]
    return list(results.values())


def _run(
    suites: Sequence[Suites], limit: float, options: Sequence[str]
) -> tuple[dict[str, Any] | None, str]:
    """The report of a run of pytest; None and what it said if there is none."""
    root = os.path.commonpath([suite.root for suite in suites])
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-c", str(SETTINGS), f"--rootdir={root}",
            "-p", "no:cacheprovider", "-p", "h2o_relay.testing.report",
            f"--relay-report={report}", *options,
            *(str(file) for suite in suites for file in suite.files),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, timeout=limit,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, f"it was still running after {limit:g} seconds"
        if report.exists() and (done.returncode in WORKED or _explains(report)):
            found: dict[str, Any] = json.loads(report.read_bytes())
            return found, ""
    return None, " / ".join(line for line in done.stdout.splitlines()[-SHOWN:] if line.strip())


def _explains(report: Path) -> bool:
    """Whether a run that did not work says why in its report."""
    found = json.loads(report.read_bytes())
    return bool(found["errors"] or not found["tests"])


def _environment() -> dict[str, str]:
    """Ours, without the relay's own settings, which would change what a plugin does, and without
    options for other runs of pytest."""
    kept = {name: text for name, text in environment().items() if not name.startswith(OWN)}
    return {**kept, "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}
