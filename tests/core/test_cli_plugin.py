"""`h2o plugin new` and `check`, and how long installed plugins keep `h2o --help`."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

from h2o_relay.commands import plugin_install, plugin_kit
from h2o_relay.commands.plugin_matrix import COLUMNS, as_json, cells, markdown, summary
from h2o_relay.plugins import PluginInfo, bind
from h2o_relay.testing.declared import CAPABILITIES, describe
from h2o_relay.types import Capabilities, Server

from .example_plugin import MARKOV, PATIENCE, Said, copied, h2o, installed, metadata

ROOT = Path(__file__).parents[2]


# new


@pytest.mark.parametrize("shape", ["openai", "own"])
def test_what_is_written_is_whole_and_tidy(
    run: Callable[..., Said], tmp_path: Path, shape: str
) -> None:
    folder = tmp_path / "deep" / "acme"
    code, out, _ = run("plugin", "new", "acme-two", "--shape", shape, "--folder", folder)
    assert code == 0
    assert f"pip install -e {folder}" in out
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    package = "h2o_relay_acme_two"
    assert written == {
        "pyproject.toml", "README.md", "tests/test_acme_two.py",
        f"{package}/__init__.py", f"{package}/conformance.py", f"{package}/py.typed",
    }  # fmt: skip
    assert not [p for p in folder.rglob("*.*") if p.is_file() and "@na" in p.read_text()]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "h2o-relay-acme-two"
    assert project["entry-points"]["h2o_relay"] == {"acme_two": package}
    plugin = bind("acme_two", imported(folder / package / "__init__.py"))
    assert ("target" in plugin.hooks) == (shape == "openai")
    server = plugin.parse_server_string("acme_two:host:8000")
    assert server is not None
    assert server.plugin == "acme_two"
    rules = ["--isolated", "--line-length=100", "--no-cache"]
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", *rules, "--select=E,F,I,B,UP", folder], check=True)
    subprocess.run([*ruff, "format", *rules, "--check", folder], check=True)


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("h2o_relay_just_written", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Acme", "'Acme' is no name for a plugin"),
        ("2fast", "is no name for a plugin"),
        ("a__b", "is no name for a plugin"),
        ("../evil", "is no name for a plugin"),
        ("http", "'http' is reserved"),
        ("class", "'class' is reserved"),
        ("vllm", "a plugin named 'vllm' is installed already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    run: Callable[..., Said], tmp_path: Path, name: str, said: str
) -> None:
    code, _, err = run("plugin", "new", name, "--folder", tmp_path / "new")
    assert code == 2
    assert said in err
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(run: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = run("plugin", "new", "acme", "--folder", tmp_path)
    assert code == 2
    assert "is there already" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# check


def test_plugins_that_pass(tmp_path: Path) -> None:
    """A new one of the other shape is created, installed and checked by
    e2e/test_writing_a_plugin.py."""
    folder, site = tmp_path / "acme", tmp_path / "site"
    assert h2o("plugin", "new", "acme", "--shape=own", "--folder", folder, path=[])[0] == 0
    path = [*installed(site, folder), *installed(site, copied(tmp_path))]
    code, out, err = h2o("plugin", "check", "markov", "acme", "--json", path=path)
    assert code == 0, out
    assert "ok acme: " in err
    assert "ok markov: " in err
    acme, markov = json.loads(out)
    for result in (acme, markov):
        assert result["passes"] is True
        assert result["problem"] is None
        assert result["failed"] == []
        assert result["passed"] > 15
        assert result["capabilities"]["chat"] == "yes"
        assert result["capabilities"]["tokenizer"] == "no"
    assert acme["capabilities"]["text"] == "no"
    assert markov["capabilities"]["fields"] == "7"
    reasons = {test["reason"] for test in markov["skipped"]}
    assert reasons == {"the server strings have no keys"}


def test_a_plugin_that_fails_is_told_what(tmp_path: Path) -> None:
    seeded = 'random.Random(request.params.get("seed")).choice'
    project = copied(tmp_path, h2o_relay_markov=(seeded, "random.Random().choice"))
    code, out, err = h2o("plugin", "check", "markov", path=installed(tmp_path / "site", project))
    assert code == 1
    assert "no markov: FAILS: answers" in err
    assert "markov: answers: TestMarkov.test_generate_and_stream_agree" in out
    row = out.splitlines()[-1]
    assert row.split()[:4] == ["markov", "FAILS", "FAILS", "FAILS"]
    assert row.endswith("FAILS: answers")


IMPORTS = "from h2o_relay.testing.suite import LocalSuite, does_not_apply"
NO_SUITE = ("class TestMarkov(LocalSuite):", "class Markov(LocalSuite):")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((IMPORTS, "import a_package_that_nobody_has"), "a_package_that_nobody_has"),
        ((IMPORTS, f"import os; os._exit(7)\n{IMPORTS}"), "its suite did not end well"),
        ((IMPORTS, f"import time; time.sleep(60)\n{IMPORTS}"), "still running after 2 seconds"),
        (NO_SUITE, "no subclass of BackendSuite or LocalSuite has plugin = 'markov'"),
    ],
    ids=["import", "exit", "time", "empty"],
)
def test_a_suite_that_cannot_be_run_is_no_pass(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    site = installed(tmp_path / "site", copied(tmp_path, h2o_relay_markov_suite=change))
    limit = 2 if "2 seconds" in said else 40
    code, out, err = h2o("plugin", "check", "markov", f"--limit={limit}", path=site)
    assert code == 1
    assert said in out
    assert "no markov: not run" in err


def test_plugins_without_a_suite_or_that_do_not_load_fail(tmp_path: Path) -> None:
    site = tmp_path / "site"
    points = "[h2o_relay]\nbare = h2o_relay.testing.echo\nlost = nowhere_to_be_found\n"
    metadata(site, "h2o-relay-bare", points)
    code, out, _ = h2o("plugin", "check", "bare", "lost", "--json", path=[site])
    assert code == 1
    bare, lost = json.loads(out)
    assert "no entry point of group h2o_relay.suites" in bare["problem"]
    assert "nowhere_to_be_found" in lost["problem"]
    assert (bare["passes"], lost["passes"]) == (False, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name plugins, or say --all"),
        (("vllm", "--all"), "name plugins, or say --all"),
        (("vlm",), "no plugin named 'vlm' is installed"),
    ],
)
def test_what_to_check_must_be_clear(
    run: Callable[..., Said], words: tuple[str, ...], said: str
) -> None:
    code, _, err = run("plugin", "check", *words)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (plugin_kit, ("check", "vllm"), ["needs pytest", 'pip install "h2o-relay[testing]"']),
        (
            plugin_install,
            ("install", "no-such-plugin"),
            ["this environment has no pip", "-m ensurepip"],
        ),
    ],
)
def test_without_what_it_needs_it_says_what_to_install(
    run: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    command: ModuleType,
    words: tuple[str, ...],
    said: list[str],
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    code, _, err = run("plugin", *words)
    assert code == 1
    assert all(text in err for text in said), err


# The matrix


def generator() -> ModuleType:
    return imported(ROOT / "docs" / "generate.py")


def test_the_matrix_in_the_documentation_is_current() -> None:
    matrix = generator().capability_matrix()
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert matrix in page, "run docs/generate.py"
    rows = [line.split(" | ")[0].strip("| ") for line in matrix.splitlines()[2:]]
    assert rows == sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
    assert len(rows) == 9


def test_the_checks_in_the_documentation_are_current() -> None:
    assert generator().check_table() in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_what_depends_on_the_string_is_told_apart() -> None:
    few = Capabilities(kinds=frozenset({"chat"}), fields=frozenset({"model", "stream"}))

    def capabilities(server: Server) -> Capabilities:
        return Capabilities(cancels=frozenset({"stream"})) if server.model == "all" else few

    from . import plain

    def parse(text: str) -> Server:
        return Server(plugin="plain", model=text.partition(":")[2], shown=text)

    plugins = plain.plugins(parse_server_string=parse, capabilities=capabilities)
    found = describe(plugins, "plain", ["plain:few", "plain:all"])
    assert found["chat"] == "yes"
    assert found["text"] == found["tools"] == "some"
    assert found["cancel generate"] == "yes", "a stream that can be stopped will do"
    assert found["identify"] == found["embeddings"] == "no"
    assert found["fields"] == "2 to all"
    assert describe(plugins, "plain", ["plain:few"])["fields"] == "2"
    assert [*CAPABILITIES, "fields"] == list(COLUMNS)


def result(declared: dict[str, str], *outcomes: tuple[str, str]) -> plugin_kit.Result:
    info = PluginInfo(name="x", distribution="h2o-relay-x", version="1", prefixes=("x",))
    tests = [
        {"suite": "TestX", "name": f"test_{check}", "check": check, "outcome": outcome,
         "reason": "why"} for check, outcome in outcomes
    ]  # fmt: skip
    return plugin_kit.Result(info, None, declared, tests)


def test_a_capability_fails_with_its_check() -> None:
    declared = {**dict.fromkeys(COLUMNS, "yes"), "text": "no", "fields": "all"}
    found = result(declared, ("cancel stream", "failed"), ("answers", "passed"))
    assert cells(found) == {**declared, "cancel stream": "FAILS"}
    assert summary(found) == "FAILS: cancel stream"
    assert not found.good
    assert as_json(found)["failed"] == [
        {"suite": "TestX", "name": "test_cancel stream", "check": "cancel stream", "reason": "why"}
    ]
    answers = result(declared, ("answers", "failed"))
    assert {name for name, cell in cells(answers).items() if cell == "FAILS"} == {"chat", "stream"}


def test_a_plugin_of_which_everything_was_skipped_does_not_pass() -> None:
    found = result({}, ("answers", "skipped"))
    assert not found.good
    assert summary(found) == "nothing passed"
    assert set(cells(found).values()) == {"?"}
    assert markdown([found]).splitlines()[-1].startswith("| x | ? |")


# Start-up


def cpu_time(path: list[Path]) -> float:
    """Seconds that a processor works for `h2o --help`: unlike the clock, they do not grow when
    others need the processor too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, out, _ = h2o("--help", path=path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert code == 0
    assert "plugin" in out
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_fifty_plugins_cost_help_less_than_50_ms(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for number in range(50):
        name = f"fake{number}"
        points = f"[h2o_relay]\n{name} = h2o_relay_{name}\n[h2o_relay.prefixes]\n{name} = {name}\n"
        metadata(site, f"h2o-relay-{name}", points)
        (site / f"h2o_relay_{name}.py").write_text("import time\ntime.sleep(1)\n")
    assert len({found.name for found in distributions(path=[str(site)])}) == 50
    pairs = [(cpu_time([site]), cpu_time([])) for _ in range(7)]
    full, empty = zip(*pairs, strict=True)
    # A busy machine makes a run dearer and never cheaper, which the median only halves.
    added = min(statistics.median(full) - statistics.median(empty), min(full) - min(empty))
    assert added < 0.05, pairs


def test_the_markov_example_passes_its_own_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=MARKOV, text=True,
        env={**os.environ, "PYTHONPATH": str(MARKOV), "PYTEST_ADDOPTS": ""}, capture_output=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
