"""Each plugin brings its conformance suite along: `h2o plugin check` needs no checkout."""

import importlib
import tomllib
from pathlib import Path

import pytest

from h2o_relay.commands.plugin_suites import GROUP, find
from h2o_relay.plugins import Plugins
from h2o_relay.testing.suite import SuiteBase

from .test_layering import FILES, imports, top

FOLDERS = {
    path.parent.name: path.parent
    for path in (Path(__file__).parents[1] / "plugins").glob("*/pyproject.toml")
}
FOR_TESTS = ("conformance", "standin")
"""The modules of a plugin that only its suite needs."""
every_plugin = pytest.mark.parametrize("name", sorted(FOLDERS))


def test_there_is_something_to_look_at() -> None:
    assert len(FOLDERS) >= 9


@every_plugin
def test_the_suite_is_in_the_wheel(name: str) -> None:
    about = tomllib.loads((FOLDERS[name] / "pyproject.toml").read_text(encoding="utf-8"))
    points = about["project"]["entry-points"][GROUP]
    assert list(points) == [name]
    [package] = about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert top(points[name]) == package
    module = importlib.import_module(points[name])
    suites = [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, SuiteBase)
    ]
    assert {suite.plugin for suite in suites if suite.__module__ == module.__name__} == {name}


@every_plugin
def test_the_installed_plugin_is_checked_by_it(name: str) -> None:
    [info] = Plugins.discover(name).infos()
    package = FOLDERS[name] / f"h2o_relay_{name}"
    assert find(info).files == (package / "conformance.py",)


@every_plugin
def test_no_test_is_needed_and_only_the_suite_needs_pytest(name: str) -> None:
    """`tests/` is in no wheel, and pytest in no environment that only runs the relay."""
    package = f"h2o_relay_{name}"
    kit = ["pytest", "h2o_relay.testing", *(f"{package}.{module}" for module in FOR_TESTS)]
    assert any(path.stem in FOR_TESTS for path in FILES[package])
    for path in FILES[package]:
        for module, what in imports(package, path):
            full = f"{module}.{what}"
            assert "tests" not in full.split("."), f"{path.name} imports {full}"
            needs_kit = any(f"{full}.".startswith(f"{start}.") for start in kit)
            assert path.stem in FOR_TESTS or not needs_kit, f"{path.name} imports {full}"
