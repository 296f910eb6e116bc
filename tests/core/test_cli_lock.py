"""Model locks and h2oGPT's flags on the command line of `h2o`."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.cli import h2o
from h2o_relay.commands import run as run_module

from . import test_cli_commands as cli
from .test_cli_commands import H2O

environment, call, served = cli.environment, cli.call, cli.served
LOCK = "[{'inference_server':'echo:a','base_model':'A'},{'inference_server':'echo:b'}]"


def test_run_serves_the_entries(call: H2O, served: list[Any]) -> None:
    assert call("run", f"--model_lock={LOCK}", "--visible_models=[0]") == (0, "", "")
    [(_, [first, second])] = served
    assert (first.server.model, first.base_model, first.visible) == ("a", "A", True)
    assert (second.server.model, second.base_model, second.visible) == ("b", None, frozenset())


def test_a_lock_in_a_file_or_a_variable(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "lock.yaml"
    file.write_text("- {inference_server: echo:y, base_model: Y}\n")
    assert call("run", "--model-lock", f"@{file}") == (0, "", "")
    for name in ("H2O_MODEL_LOCK", "H2OGPT_MODEL_LOCK", "model_lock"):
        monkeypatch.setenv(name, LOCK)
        assert call("run") == (0, "", "")
        monkeypatch.delenv(name)
    names = [[spec.base_model for spec in specs] for _, specs in served]
    assert names == [["Y"], ["A", None], ["A", None], ["A", None]]


def test_what_is_typed_is_meant(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_MODEL_LOCK", LOCK)
    assert call("run", "echo:typed")[0] == 0
    assert call("run", "--inference-server=echo:typed", "--base-model=t")[0] == 0
    monkeypatch.delenv("H2O_MODEL_LOCK")
    monkeypatch.setenv("H2O_INFERENCE_SERVER", "echo:env")
    monkeypatch.setenv("H2OGPT_BASE_MODEL", "env")
    assert call("run", "--model-lock", LOCK)[0] == 0
    models = [[spec.server.model for spec in specs] for _, specs in served]
    assert models == [["typed"], ["typed"], ["a", "b"]]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model_lock", LOCK, "echo"], "--model-lock and a server cannot be used together"),
        (["--model_lock", LOCK, "--base_model=x"], "--model-lock and --base-model cannot"),
        (["--model_lock=[{'basemodel':'x'}]"], "--model-lock: entry 0: unknown key 'basemodel'"),
        (["--model_lock=@/no/such"], "--model-lock: cannot read /no/such: No such file"),
        (["--model_lock=@~no/such"], "--model-lock: cannot read ~no/such: No such file"),
        (["--model_lock="], "--model-lock is neither a Python literal nor JSON"),
        (["--base_model=llama"], "--base-model: nothing here can run 'llama': llama.cpp runs"),
        (["--visible_models=x", "--model_lock", LOCK.replace("}]", ",'base_model':'b'}]")],
         "--visible-models: no entry is called 'x'"),
        (["echo", "--prompt_type=lama2"], "--prompt-type: There is no prompt type 'lama2'. Did"),
        (["echo", "--max_seq_len=0"], "--max-seq-len: 0 is out of range"),
        (["echo", "--max_seq_len=long"], "--max-seq-len: 'long' is not a whole number"),
        (["anthropic"], "server string: nobody serves 'anthropic' yet"),
        (["google:x"], "server string: nobody serves 'google' yet"),
        (["mistralai"], "server string: nobody serves 'mistralai' yet"),
        (["sglang:a:h:1"], "server string: nobody serves 'sglang' yet"),
        (["echo", "--port=6001", "--openai_port=6001"], "--port and --openai-port are both 6001"),
    ],
)  # fmt: skip
def test_mistakes(call: H2O, served: list[Any], words: list[str], line: str) -> None:
    code, out, err = call("run", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {line}"), err
    assert not served


def test_a_lock_without_quotes_is_shown_with_them(call: H2O, served: list[Any]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash to take the lock apart")
    lock = (
        "[{'inference_server':'vllm:h:80:/v1:sk-SECRET','base_model':'a','h2ogpt_key':'sk-SECRET'},"
        "{'inference_server':'openai_chat','base_model':'b'}]"
    )
    spaced = lock.replace(",", ", ").replace(":'", ": '")
    for written in (lock, spaced, spaced.replace("'", "\\'"), spaced.replace("'", '\\"')):
        for flag in (f"--model_lock={written}", f"--model-lock {written}"):
            done = subprocess.run(
                [bash, "--norc", "-c", f"printf '%s\\0' {flag} --port=1"],
                capture_output=True, check=True,
            )  # fmt: skip
            words = done.stdout.decode().removesuffix("\0").split("\0")
            assert len(words) > 2
            code, _, err = call("run", *words)
            first, quoted = err.splitlines()
            assert code == 2
            assert first.startswith("h2o: the shell has taken --model_lock apart")
            assert "SECRET" not in err
            [again] = shlex.split(quoted)
            assert call("check", "--parse-only", "--json", again)[0] == 0
            assert "'vllm:h:80:/v1:***'" in again
    assert not served


def test_a_lock_that_is_given_twice(call: H2O, served: list[Any]) -> None:
    words = (f"--model_lock={LOCK}", "--model_lock=[{'inference_server':'echo:last'}]")
    code, _, err = call("run", *words)
    assert (code, err) == (
        0, "h2o: note: --model-lock is given more than once; the last one counts\n"
    )  # fmt: skip
    assert [spec.server.model for spec in served[0][1]] == ["last"]


def test_repeated_flags(call: H2O, served: list[Any]) -> None:
    words = "--inference_server echo:a --port=1 --inference_server=echo:b --port=1 --base_model=x"
    code, _, err = call("run", *words.split())
    assert (code, err) == (
        0, "h2o: note: --inference-server is given more than once; the last one counts\n"
    )  # fmt: skip
    assert [spec.server.model for spec in served[0][1]] == ["b"]
    assert call("run", "--port=1", "--port=1", "echo") == (0, "", "")


def test_flags_for_every_server(call: H2O, served: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "template"
    file.write_text("{{ messages }}")
    words = (
        "echo:a echo:b --chat_template={} --system_prompt=kind --max_seq_len=4096 "
        "--max_new_tokens=5 --max_max_new_tokens=9 --concurrency_count=64"
    )
    assert call("run", *words.format(file).split()) == (0, "", "")
    [(_, specs)] = served
    tuning = specs[0].tuning
    assert specs[1].tuning == tuning
    assert (tuning.chat_template, tuning.system_prompt) == ("{{ messages }}", "kind")
    assert (tuning.max_seq_len, tuning.max_new_tokens, tuning.max_max_new_tokens) == (4096, 5, 9)
    assert tuning.concurrency == 64
    assert tuning.renders


def test_variables_of_h2ogpt(call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2OGPT_PROMPT_TYPE", "llama2")
    monkeypatch.setenv("H2OGPT_MAX_SEQ_LEN", "2048")
    monkeypatch.setenv("CONCURRENCY_COUNT", "7")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7999")
    monkeypatch.setenv("H2OGPT_SCORE_MODEL", "None")
    code, _, err = call("run", "echo")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("h2o: note: H2OGPT_SCORE_MODEL: answers are not scored")
    [(settings, [spec])] = served
    assert (settings.port, spec.tuning.prompt_type, spec.tuning.max_seq_len) == (
        7999, "llama2", 2048
    )  # fmt: skip
    assert spec.tuning.concurrency == 7


def test_other_flags_are_answered(call: H2O, served: list[Any]) -> None:
    words = "--score_model=None --verbose=True --auth_message=x echo --verbose --dark False"
    code, _, err = call("run", *words.split())
    assert code == 0
    lines = err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("h2o: note: --") for line in lines)
    assert "h2o: note: --auth_message: people sign in by name and password alone" in err
    assert [spec.server.plugin for spec in served[0][1]] == ["echo"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--auth=closed", "--auth_access=closed"),
        ("--auth=[(a,b)]", "--auth is not a list of pairs"),
        ("--h2ogpt_api_keys=not-there.json", "cannot read not-there.json"),
        ("--share=True", "there is no public link"),
        ("--auth_access=ajar", "not one of open, closed"),
        ("--save_dir=~nobody-here/x", "--save-dir: ~nobody-here is nobody's home folder"),
        ("--h2ogpt_api_keys=~nobody-here/x", "cannot read ~nobody-here/x: No such file"),
        ("--api-key=file:~nobody-here/x", "cannot read ~nobody-here/x: No such file"),
        ("--chat_template=~nobody-here/x", "cannot be read as a file: No such file"),
    ],
)
def test_who_may_come_is_checked_before_anything_starts(
    words: str, said: str, call: H2O, served: list[Any]
) -> None:
    code, _, err = call("run", "echo", words)
    assert code == 2
    assert said in err
    assert not served


def test_passwords_on_the_command_line_are_warned_of(call: H2O, served: list[Any]) -> None:
    secret = "pw-canary-55"
    for words, variable in (
        (f"--auth=[('ann','{secret}')]", "H2O_AUTH"),
        (f"--h2ogpt_api_keys=['{secret}']", "H2O_H2OGPT_API_KEYS"),
        (f"--admin_pass={secret}", "ADMIN_PASS"),
    ):
        code, _, err = call("run", "echo", words)
        assert code == 0
        assert f"{variable} can hold it" in err
        assert secret not in err
    assert len(served) == 3


def test_completion_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command = h2o.get_command(h2o.make_context("h2o", ["run"], resilient_parsing=True), "run")
    assert command is not None
    command.make_context("run", ["--verbose", "--model_lock=[{a"], resilient_parsing=True)
    assert capsys.readouterr() == ("", "")


def test_keys_that_mean_nothing_are_answered(call: H2O, served: list[Any]) -> None:
    _, _, err = call("run", "--model_lock=[{'inference_server':'echo','load_8bit':True}]")
    assert err.startswith("h2o: note: --model-lock: load_8bit: servers load the models")
    assert len(served) == 1


def test_keys_in_a_lock_are_warned_of(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = "[{'inference_server':'vllm:h:80:/v1:sk-SECRET','base_model':'a'}]"
    _, _, err = call("run", "--model_lock", lock)
    assert err.startswith("h2o: warning: --model-lock holds a key")
    monkeypatch.setenv("H2O_MODEL_LOCK", lock)
    assert call("run") == (0, "", "")
    assert "SECRET" not in f"{err}{served}"


def test_h2ogpts_port_for_the_chat_page(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = run_module.default("openai_port")
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    code, _, err = call("run", "echo")
    assert (code, err) == (
        0, f"h2o: note: the chat UI has port {port}, so that the API is on {port + 1}\n"
    )  # fmt: skip
    assert [(s.port, s.openai_port) for s, _ in served] == [(port, port + 1)]
    assert call("run", "echo", "--no-ui")[1:] == ("", "")


@pytest.mark.usefixtures("no_sockets")
def test_check_reads_a_lock(call: H2O) -> None:
    good = "{'inference_server':'echo','base_model':'m','display_name':'d'}"
    lock = f"[{{'inference_server':'vllm:h:99999'}},{good}]"
    code, out, err = call("check", "--parse-only", "--json", "--model_lock", lock)
    row, bad = json.loads(out)
    assert code == 2
    assert (row["base_model"], row["display_name"], row["backend"]) == ("m", "d", "echo")
    assert bad["state"] == "invalid"
    assert "a port is a number" in err


@pytest.mark.usefixtures("no_sockets")
def test_a_server_without_what_it_needs_is_refused(
    call: H2O, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from h2o_relay import plugins

    real = plugins.Plugins.parse

    def needing(self: plugins.Plugins, text: str) -> Any:
        return replace(real(self, text), needs=("key",), key_env=("ECHO_KEY",))

    monkeypatch.setattr(plugins.Plugins, "parse", needing)
    code, out, err = call("check", "--parse-only", "--json", "echo")
    assert code == 2
    reason = "its key is missing: write it in the string, or set ECHO_KEY"
    assert json.loads(out)[0]["reason"] == reason
    assert err.startswith("h2o: server string: its key is missing")
    monkeypatch.setenv("ECHO_KEY", "sk-1")
    code, out, _ = call("check", "--parse-only", "--json", "echo")
    assert (code, json.loads(out)[0]["has_key"]) == (0, True)


def test_check_opens_a_lock(call: H2O) -> None:
    lock = "[{'inference_server':'echo:x','base_model':'m'}]"
    code, out, _ = call("check", "--model_lock", lock, "--json")
    [row] = json.loads(out)
    assert (code, row["base_model"], row["state"]) == (0, "m", "healthy")
    assert [model["id"] for model in row["models"]] == ["x"]


def test_asking_an_entry(call: H2O) -> None:
    for name in ("A", "b", "0", "1"):
        code, out, err = call("ask", "--model_lock", LOCK, "--model", name, "one two")
        assert (code, err) == (0, ""), err
        assert out.strip()
