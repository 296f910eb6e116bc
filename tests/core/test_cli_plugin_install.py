"""`h2o plugin install`: what is installed is listed, and what goes wrong is said in a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from h2o_relay.commands import plugin_install

from .. import throwaway
from .example_plugin import Said, copied

NOTHING_FOUND = "ERROR: No matching distribution found for x"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> throwaway.Throwaway:
    return throwaway.make(tmp_path_factory.mktemp("environment"))


def test_a_folder_is_installed_and_what_is_new_is_listed(
    environment: throwaway.Throwaway, tmp_path: Path
) -> None:
    project = copied(tmp_path)
    done = environment.h2o("plugin", "install", project)
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.split() == ["Plugin", "Distribution", "Version", "Prefixes", "State"]
    assert row.split() == ["markov", "h2o-relay-markov", "0.1.0", "markov", "ready"]
    again = environment.h2o("plugin", "install", "Markov")
    assert again.returncode == 0
    assert "h2o-relay-markov 0.1.0 is installed already" in again.stderr
    assert again.stdout == ""


def test_a_plugin_that_does_not_load_is_reported(
    environment: throwaway.Throwaway, tmp_path: Path
) -> None:
    folder = tmp_path / "acme"
    assert environment.h2o("plugin", "new", "clumsy", "--folder", folder).returncode == 0
    (folder / "h2o_relay_clumsy" / "__init__.py").write_text("import what_nobody_has\n")
    done = environment.h2o("plugin", "install", "--editable", folder, "--", "--no-compile")
    assert done.returncode == 1
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("clumsy")]
    assert "what_nobody_has" in row


def test_what_there_is_not_is_said(environment: throwaway.Throwaway) -> None:
    done = environment.h2o("plugin", "install", "no-such-plugin==1")
    assert done.returncode == 1
    assert "there is no distribution h2o-relay-no-such-plugin==1" in done.stderr
    assert "  pip: ERROR" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_network_that_is_the_reason(environment: throwaway.Throwaway) -> None:
    index = {
        "PIP_NO_INDEX": "0",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "2",
        "no_proxy": "127.0.0.1",
    }
    done = environment.h2o("plugin", "install", "no-such-plugin", **index)
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "there is no folder or file ./nowhere"),
        ("two words", "'two words' is no plugin"),
        ("--no-deps", "no plugin is named"),
        (".", "is a folder without a pyproject.toml"),
    ],
)
def test_what_cannot_be_installed_is_refused(
    run: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("plugin", "install", "--", name)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error: externally-managed-environment\n", "virtual environment"),
        ("OSError: [Errno 28] No space left on device", "no space is left"),
        ("ERROR: ResolutionImpossible: for help", "does not go together"),
        ("ERROR: what nobody expected", "pip could not install it"),
        (f"WARNING: by 'NewConnectionError'\n{NOTHING_FOUND}", "no network"),
        (NOTHING_FOUND, "there is no distribution x"),
    ],
)
def test_pips_words_become_one_reason(said: str, reason: str) -> None:
    assert reason in plugin_install._reason(said)


@pytest.mark.parametrize(
    ("name", "argument", "distribution"),
    [
        ("ollama", "h2o-relay-ollama", "h2o-relay-ollama"),
        ("Gradio_Remote", "h2o-relay-gradio-remote", "h2o-relay-gradio-remote"),
        ("h2o_relay_tgi", "h2o-relay-tgi", "h2o-relay-tgi"),
        ("tgi==0.1", "h2o-relay-tgi==0.1", None),
        ("tgi[client]>=0.1", "h2o-relay-tgi[client]>=0.1", None),
        ("https://host/a.whl", "https://host/a.whl", None),
    ],
)
def test_names_become_distributions(name: str, argument: str, distribution: str | None) -> None:
    found = plugin_install._read(name, editable=False)
    assert found.arguments == (argument,)
    assert found.distribution == distribution
