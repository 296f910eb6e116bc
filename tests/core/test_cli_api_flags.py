"""h2oGPT's flags for its API on the command line of `h2o run`."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from h2o_relay import settings_relay
from h2o_relay.h2ogpt import flags
from h2o_relay.settings import default

from . import test_cli_commands as cli
from .test_cli_commands import H2O

environment, call, served = cli.environment, cli.call, cli.served


@pytest.mark.parametrize(
    ("words", "served_by"),
    [
        ("", True),
        ("--openai_server", True),
        ("--openai_server=True", True),
        ("--openai-server True", True),
        ("--openai_server=None", True),
        ("--openai_server=False", False),
        ("--openai_server False", False),
        ("--no-openai_server", False),
        ("--no_openai_server", False),
        ("--no-openai-server=True", False),
        ("--no-openai-server=False", True),
        ("--openai_server=False --openai_server=True", True),
        ("--allow_api=True", True),
        ("--allow_api=False", False),
        ("--no-allow-api", False),
        ("--allow_api=False --openai_server=True", False),
    ],
)
def test_switching_the_api(call: H2O, served: list[Any], words: str, served_by: bool) -> None:
    assert call("run", "echo", *words.split()) == (0, "", "")
    [(settings, _)] = served
    assert settings.serves_api is served_by
    assert settings.ui


@pytest.mark.parametrize("name", ["openai_server", "allow_api"])
def test_the_same_by_variables(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for prefix in ("H2O_", "H2OGPT_"):
        monkeypatch.setenv(prefix + name.upper(), "False")
        assert call("run", "echo") == (0, "", "")
        assert call("run", "echo", f"--{name}") == (0, "", "")
        monkeypatch.delenv(prefix + name.upper())
    assert [settings.serves_api for settings, _ in served] == [False, True] * 2


@pytest.mark.parametrize("command", ["run --no-ui", "serve"])
@pytest.mark.parametrize("flag", ["--no-openai-server", "--no-allow-api"])
def test_a_relay_that_nobody_could_use(
    call: H2O, served: list[Any], command: str, flag: str
) -> None:
    code, out, err = call(*command.split(), "echo", flag)
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {flag} leaves the API out, and there is no chat UI: nothing")
    assert not served


def test_a_value_that_is_neither(call: H2O, served: list[Any]) -> None:
    code, _, err = call("run", "echo", "--openai_server=maybe")
    assert code == 2
    assert err.startswith("h2o: --openai_server: 'maybe' is not true, false or none"), err
    assert not served


def test_the_apis_port_is_free_for_others_without_it(call: H2O, served: list[Any]) -> None:
    """A server may have it, and so may the chat page."""
    port = default("openai_port")
    assert call("run", "echo", "--no-openai-server", f"--port={port}") == (0, "", "")
    server = f"vllm:127.0.0.1:{port}"
    assert call("run", server, "--base_model=m", "--no-openai-server")[0] == 0
    assert [settings.ports for settings, _ in served] == [{port}, {7860}]


@pytest.mark.parametrize("variable", ["H2O_OPENAI_PORT", "H2OGPT_OPENAI_PORT"])
def test_the_port_by_a_variable(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "5999")
    assert call("run", "echo") == (0, "", "")
    assert call("run", "echo", "--openai_port=5998") == (0, "", "")
    assert [settings.openai_port for settings, _ in served] == [5999, 5998]


@pytest.mark.parametrize(("system", "port"), [("linux", 5000), ("win32", 5000), ("darwin", 5001)])
def test_the_port_by_default(monkeypatch: pytest.MonkeyPatch, system: str, port: int) -> None:
    """macOS has a service of its own on 5000."""
    spec = spec_from_file_location(settings_relay.__name__, settings_relay.__file__)
    assert spec is not None
    assert spec.loader is not None
    elsewhere = module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", system)
        spec.loader.exec_module(elsewhere)
    assert elsewhere.RelaySettings().openai_port == port


@pytest.mark.parametrize(
    "word", ["--openai_workers=4", "--multiple_workers_gunicorn", "--openai_workers 2"]
)
def test_how_many_processes_serve_is_said_otherwise(
    call: H2O, served: list[Any], word: str
) -> None:
    code, _, err = call("run", "echo", *word.split())
    assert (code, len(served)) == (0, 1)
    assert err.startswith(f"h2o: note: {word.partition('=')[0].split()[0]}: it is --workers N")


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("H2OGPT_OPENAI_CERT_PATH", "--ssl-certfile and --ssl-keyfile"),
        ("H2OGPT_OPENAI_KEY_PATH", "--ssl-certfile and --ssl-keyfile"),
        ("H2OGPT_OPENAI_USER", "keys say who may use it"),
        ("H2OGPT_OPENAI_BASE_FILE_PATH", "keeps no files"),
        ("H2OGPT_OPENAI_WORKERS", "it is --workers N here"),
    ],
)
def test_variables_of_h2ogpts_api_that_do_nothing_here(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch, variable: str, says: str
) -> None:
    monkeypatch.setenv(variable, "x")
    code, _, err = call("run", "echo")
    assert (code, len(served)) == (0, 1)
    assert err.startswith(f"h2o: note: {variable}: ")
    assert says in err
    assert flags.answer(variable.removeprefix("H2OGPT_").lower()) in err
