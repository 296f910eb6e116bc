"""`--config` and `h2o config`: which file is read, what wins over it, and what is told of it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from h2o_relay.commands import run as run_module
from h2o_relay.commands.config_file import overruled
from h2o_relay.config import parse_config, schema
from h2o_relay.settings import Settings, found, load, reloaded

from . import test_cli_commands as cli
from .test_cli_commands import H2O

environment, call, served = cli.environment, cli.call, cli.served
FILE = """\
settings:
  port: 7001
  api_key: ${env.RELAY_KEY:-none}
  admin_pass: SECRET-pass
  idle_timeout: 9
models:
  - inference_server: echo:a
    base_model: A
  - inference_server: vllm:h:8000:/v1:SECRET
    h2ogpt_key: SECRET-key
    visible: false
pools:
  both:
    members: [A, 1]
    strategy: sticky
"""
MEANT = "'inference_server'?"
VLLM = "vllm:h:8000:/v1:***"
NOTE = "h2o: note: h2o.yaml of this folder is read (--config= leaves it out)\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("RELAY_KEY", raising=False)
    return tmp_path / "here"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "relay.yaml"
    path.write_text(FILE)
    return str(path)


def models(served: list[Any]) -> list[str]:
    return [spec.server.shown for spec in served[-1][1]]


# What wins.


def test_the_first_place_wins() -> None:
    file = {"port": 3, "host": "file", "idle_timeout": 5.0}
    env = {"H2O_PORT": "2", "H2OGPT_HOST": "env"}
    chosen = load({"port": 1}, env, file)
    assert (chosen.port, chosen.host, chosen.idle_timeout) == (1, "env", 5.0)
    origins = {name: (o.kind, o.name) for name, (_, o) in found({"port": 1}, env, file).items()}
    assert origins["port"] == ("flag", "--port")
    assert origins["host"] == ("environment", "H2OGPT_HOST")
    assert origins["idle_timeout"] == ("file", "")
    assert origins["ui"] == ("default", "")
    assert load({}, {"H2O_PORT": "none"}, file).port == 3
    with pytest.raises(ValueError, match="unknown settings: prot"):
        load({}, {}, {"prot": 1})


def test_settings_after_a_change_of_the_file(
    call: H2O, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []

    def serve(settings: Settings, servers: list[Any], **_: Any) -> int:
        kept.append((settings, overruled()))
        return 0

    monkeypatch.setattr(run_module, "frontend", lambda name: serve)
    monkeypatch.setenv("H2O_IDLE_TIMEOUT", "4")
    assert call("serve", "--config", file, "--openai-port=7009") == (0, "", "")
    [(before, fixed)] = kept
    assert {"config", "idle_timeout", "openai_port", "ui"} <= fixed
    assert "port" not in fixed
    after = reloaded(before, fixed, {"idle_timeout": 1.0, "openai_port": 1, "refresh": 2.0})
    assert (after.idle_timeout, after.openai_port, after.refresh) == (4, 7009, 2)
    assert (after.port, after.admin_pass, after.ui, after.config) == (7860, None, False, file)
    assert overruled() == frozenset()


def test_run_with_a_file(
    call: H2O, served: list[Any], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_KEY", "k")
    assert call("run", "--config", file) == (0, "", "")
    settings, specs = served[-1]
    assert (settings.port, settings.api_key, settings.idle_timeout) == (7001, "k", 9)
    assert settings.config == file
    assert [(spec.base_model, spec.visible) for spec in specs] == [("A", True), (None, False)]
    monkeypatch.setenv("H2O_PORT", "7002")
    assert call("serve", f"--config={file}", "--idle_timeout=4") == (0, "", "")
    settings, _ = served[-1]
    assert (settings.port, settings.idle_timeout, settings.ui) == (7002, 4, False)


def test_servers_of_the_command_line_come_first(
    call: H2O, served: list[Any], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_CONFIG", file)
    assert call("run", "echo:typed") == (0, "", "")
    assert models(served) == ["echo:typed", "echo:a", VLLM]
    assert call("run", "--model_lock=[{'inference_server':'echo:locked'}]") == (0, "", "")
    assert models(served) == ["echo:locked", "echo:a", VLLM]
    assert call("run", "--visible_models=['A']") == (0, "", "")
    assert [spec.visible for spec in served[-1][1]] == [True, frozenset()]
    assert call("run", "--config=") == (0, "", "")
    assert models(served) == ["echo"]


def test_a_file_without_models_changes_settings_alone(
    call: H2O, served: list[Any], folder: Path
) -> None:
    (folder / "x.yaml").write_text("settings: {port: 7003}")
    assert call("run", "--config=x.yaml") == (0, "", "")
    assert served[-1][0].port == 7003
    assert models(served) == ["echo"]


def test_keys_that_mean_nothing_are_told(call: H2O, served: list[Any], folder: Path) -> None:
    (folder / "x.yaml").write_text("models: [{inference_server: echo, stream_output: true}]")
    code, _, err = call("run", "--config=x.yaml")
    assert code == 0
    assert err.startswith("h2o: note: models[0].stream_output: ")


# The folder's own file.


def test_the_folders_file_is_read_where_nothing_else_is_named(
    call: H2O, served: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (folder / "h2o.yaml").write_text(FILE)
    assert call("run") == (0, "", NOTE)
    assert models(served) == ["echo:a", VLLM]
    assert served[-1][0].config == "h2o.yaml"
    assert call("check", "--parse-only", "--json")[2] == NOTE
    for words in (["echo:x"], ["--inference-server=echo:x"], ["--config="],
                  ["--model-lock=[{'inference_server':'echo:x'}]"]):  # fmt: skip
        assert call("run", *words) == (0, "", "")
        assert served[-1][0].port == 7860
    monkeypatch.setenv("H2O_INFERENCE_SERVER", "echo:x")
    assert call("run") == (0, "", "")
    assert models(served) == ["echo:x"]
    monkeypatch.delenv("H2O_INFERENCE_SERVER")
    monkeypatch.setenv("H2O_CONFIG", file)
    assert call("run") == (0, "", "")
    assert served[-1][0].config == file


def test_commands_that_ask_a_relay_do_not_read_it(call: H2O, folder: Path) -> None:
    (folder / "h2o.yaml").write_text("settings: {prot: 1}")
    for words in (["models", "list", "--url=http://127.0.0.1:1/v1"], ["plugin", "list"]):
        assert "h2o.yaml" not in call(*words)[2]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no such modes here")
def test_a_file_that_others_can_write_is_left_out(
    call: H2O, served: list[Any], folder: Path
) -> None:
    path = folder / "h2o.yaml"
    path.write_text(FILE)
    path.chmod(path.stat().st_mode | stat.S_IWOTH)
    code, _, err = call("run")
    assert code == 0
    assert err.startswith("h2o: warning: h2o.yaml of this folder is left out, for others can write")
    assert served[-1][0].port == 7860
    assert call("run", "--config=h2o.yaml") == (0, "", "")


# Mistakes.


@pytest.mark.parametrize("command", ["run", "serve", "check", "chat", "ask"])
def test_a_bad_file_ends_every_command(
    call: H2O, served: list[Any], folder: Path, command: str
) -> None:
    (folder / "x.yaml").write_text("settings:\n  prot: 1\nmodels:\n- {inference_sever: echo}\n")
    code, out, err = call(command, "--config=x.yaml")
    assert (code, out, served) == (2, "", [])
    assert err.splitlines() == [
        "h2o: x.yaml: 2 mistakes",
        "  line 2: settings.prot: there is no such setting; did you mean 'port'?",
        f"  line 4: models[0].inference_sever: there is no such key; did you mean {MEANT}",
    ]


def test_a_file_that_is_not_there(call: H2O, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "h2o: no.yaml: cannot read it: No such file or directory\n"
    assert call("run", "--config", "no.yaml") == (2, "", line)
    monkeypatch.setenv("H2O_CONFIG", "no.yaml")
    assert call("run", "echo") == (2, "", line)
    assert call("config", "check") == (2, "", line)


# h2o config.


def test_check(call: H2O, file: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    said = "no mistakes in 3 settings, 2 model entries and 1 pool\n"
    assert call("config", "check", file) == (0, f"{file}: {said}", "")
    monkeypatch.setenv("H2O_CONFIG", file)
    assert call("config", "check") == (0, f"{file}: {said}", "")
    monkeypatch.delenv("H2O_CONFIG")
    (folder / "h2o.yaml").write_text(FILE)
    assert call("config", "check") == (0, f"h2o.yaml: {said}", "")
    code, out, _ = call("config", "check", "--json", file)
    assert (code, json.loads(out)) == (0, {"file": file, "ok": True, "problems": [], "notes": []})


def test_check_reads_server_strings_templates_and_keys(call: H2O, folder: Path) -> None:
    (folder / "a.yaml").write_text("models:\n- inference_server: ecko:SECRET\n")
    code, _, err = call("config", "check", "a.yaml")
    assert code == 2
    assert err.startswith(
        "h2o: a.yaml: line 2: models[0].inference_server: server string: no backend 'ecko'"
    )
    assert "SECRET" not in err
    (folder / "b.yaml").write_text(
        "settings:\n  chat_template: '{% x %}{'\n  h2ogpt_api_keys: /no/such.json\n"
        "models:\n- inference_server: echo\n  chat_template: '{{ x'\n"
    )
    code, _, err = call("config", "check", "b.yaml")
    assert code == 2
    assert err.startswith("h2o: b.yaml: 3 mistakes\n")
    assert "line 2: settings.chat_template: " in err
    assert "line 3: settings.h2ogpt_api_keys: " in err
    assert "line 6: models[0].chat_template: " in err


def test_check_tells_what_may_be_a_mistake(call: H2O, folder: Path) -> None:
    (folder / "h2o.yaml").write_text(
        "models: [{inference_server: echo, base_model: llama}]\npools: {p: {members: [lama]}}\n"
    )
    code, out, err = call("config", "check")
    assert (code, out) == (0, "h2o.yaml: no mistakes in 0 settings, 1 model entry and 1 pool\n")
    assert err == (
        "h2o: note: pools.p.members[0]: no entry of this file is called 'lama'; "
        "did you mean 'llama'?\n"
    )


def test_check_for_programs(call: H2O, folder: Path) -> None:
    (folder / "x.yaml").write_text("settings:\n  prot: 1\n  hots: 2\n")
    code, out, err = call("config", "check", "--json", "x.yaml")
    told = json.loads(out)
    assert (code, err, told["ok"]) == (2, "", False)
    assert [(p["path"], p["line"]) for p in told["problems"]] == [
        ("settings.prot", 2),
        ("settings.hots", 3),
    ]


def test_show(call: H2O, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2OGPT_HOST", "127.0.0.2")
    words = ("config", "show", "echo:typed", "--config", file, "--openai-port=7009")
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    assert "SECRET" not in out
    told = json.loads(out)
    rows = {row["name"]: (row["value"], row["from"]) for row in told["settings"]}
    assert rows["port"] == (7001, f"{file}:2")
    assert rows["admin_pass"] == ("***", f"{file}:4")
    assert rows["openai_port"] == (7009, "--openai-port")
    assert rows["host"] == ("127.0.0.2", "H2OGPT_HOST")
    assert rows["refresh"] == (60.0, "default")
    assert rows["config"] == (file, "--config")
    assert rows["default_server"] == ("echo", "H2O_DEFAULT_SERVER")
    assert [(row["name"], row["server"], row["from"]) for row in told["models"]] == [
        (None, "echo:typed", "command line or environment"),
        ("A", "echo:a", f"{file}:7"),
        (None, VLLM, f"{file}:9"),
    ]
    assert told["pools"] == [
        {"name": "both", "members": ["A", 1], "strategy": "sticky", "from": f"{file}:13"}
    ]
    code, table, _ = call(*words)
    assert code == 0
    assert "SECRET" not in table
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert lines["port"] == ["port", "7001", f"{file}:2"]
    assert lines["both"] == ["both", "sticky", "A,", "1", f"{file}:13"]
    assert lines["api_key"] == ["api_key", "-", "default"]


def test_show_of_the_folders_file(call: H2O, folder: Path) -> None:
    (folder / "h2o.yaml").write_text("settings: {port: 1}")
    code, out, err = call("config", "show", "--json")
    rows = {row["name"]: (row["value"], row["from"]) for row in json.loads(out)["settings"]}
    assert (code, err) == (0, NOTE)
    assert rows["config"] == ("h2o.yaml", "this folder")
    assert rows["port"] == (1, "h2o.yaml:1")


def test_schema(call: H2O) -> None:
    code, out, err = call("config", "schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(schema()))


def test_init(call: H2O, folder: Path) -> None:
    code, out, err = call("config", "init")
    assert (code, err) == (0, "")
    assert out == "wrote h2o.yaml; next: h2o config check h2o.yaml; h2o run --config h2o.yaml\n"
    text = (folder / "h2o.yaml").read_text(encoding="utf-8")
    (folder / "h2o.yaml").write_text("mine")
    code, _, err = call("config", "init")
    assert (code, err) == (2, "h2o: h2o.yaml is there already\n--force writes over it\n")
    assert (folder / "h2o.yaml").read_text() == "mine"
    assert call("config", "init", "h2o.yaml", "--force")[0] == 0
    assert (folder / "h2o.yaml").read_text(encoding="utf-8") == text
    code, _, err = call("config", "init", "no/such/folder.yaml")
    assert (code, err) == (1, "h2o: cannot write no/such/folder.yaml: No such file or directory\n")


def test_what_init_writes_is_right_and_so_are_its_examples(call: H2O, folder: Path) -> None:
    call("config", "init")
    text = (folder / "h2o.yaml").read_text(encoding="utf-8")
    plain = parse_config(text, {})
    assert (plain.settings, plain.entries, plain.pools) == ({}, (), ())
    (folder / "all.yaml").write_text(text.replace("#: ", ""))
    code, out, err = call("config", "check", "all.yaml", "--load-plugins=vllm,openai")
    assert (code, err) == (0, "")
    assert out == "all.yaml: no mistakes in 5 settings, 3 model entries and 1 pool\n"
    whole = parse_config(text.replace("#: ", ""), {})
    assert [entry["base_model"] for entry in whole.entries] == ["llama", "llama", "gpt-4o"]
    assert whole.pools[0].members == ("llama", "llama_1")
    data = yaml.safe_load(text.replace("#: ", ""))
    assert Draft202012Validator(schema()).is_valid(data)


def test_help_names_the_option(call: H2O) -> None:
    for command in ("run", "serve", "check", "chat", "ask"):
        assert "--config FILE" in call(command, "--help")[1]
    assert "h2o config check" in call("config")[1]
