"""`h2o`'s commands, called in this process: what they print, refuse and exit with."""

from __future__ import annotations

import io
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from h2o_relay.cli import COMMANDS, h2o, main
from h2o_relay.commands import run as run_module
from h2o_relay.configuration import all_specs
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.testing import echo

H2O = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_settings: None, echo_installed: None
) -> None:
    """Nothing from outside, and the echo plugin."""
    monkeypatch.setenv("H2O_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("H2O_DISCOVER", "0")  # whatever runs on this machine


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> H2O:
    """Run `h2o` with words and piped input: exit code, stdout, stderr."""

    def run(*words: str, piped: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, list[Any]]]:
    """What `run` hands over to its frontend, instead of a running relay."""
    calls: list[tuple[Settings, list[Any]]] = []

    def serve(settings: Settings, servers: list[Any], config: Any = None, **_: Any) -> int:
        plugins = Plugins.discover(settings.load_plugins)
        calls.append((settings, all_specs(servers, config, settings, plugins)))
        return 0

    monkeypatch.setattr(run_module, "frontend", lambda name: serve)
    return calls


# What cannot be done is one line and a hint, and exit code 2 (reliability.md 3.3).


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run --prot 80", "unknown option --prot; did you mean --port?"),
        ("run --opnai_port=80", "unknown option --opnai-port; did you mean --openai-port?"),
        ("rnu", "unknown command 'rnu'; did you mean run?"),
        ("plugin lst", "unknown command 'lst'; did you mean list?"),
        ("run --port -1", "--port: -1 is out of range, it must be from 0 to 65535"),
        ("run --port 65536", "--port: 65536 is out of range, it must be from 0 to 65535"),
        ("run --openai_port=abc", "--openai-port: 'abc' is not a whole number"),
        ("run --host 192.0.2.1", "--host: cannot listen on '192.0.2.1': "),
        ("run --host 0.0.0.0", "listening on 0.0.0.0 without a key would let anybody use it"),
        ("run --idle-timeout inf", "--idle-timeout: 'inf' is not a number"),
        ("run --idle-timeout 1e400", "--idle-timeout: '1e400' is not a number"),
        ("run --idle-timeout=-2", "--idle-timeout: -2 is out of range, it must be at least 0.01"),
        ("run --log-level LOUD", "--log-level: 'LOUD' is not one of debug, info, warning, error"),
        ("--log_level LOUD run", "--log-level: 'LOUD' is not one of debug, info, warning, error"),
        ("run --drain-timeout -3", "--drain-timeout: -3 is out of range, it must be at least 0"),
        ("run --max-body 10XB", "--max-body: '10XB' is not "),
        ("run --ui=maybe", "--ui: 'maybe' is not true, false or none"),
        ("run --http_proxy=junk", "--http-proxy: not the URL of a proxy"),
        ("run --api-key=env:H2O_NOT_SET", "--api-key: the environment variable H2O_NOT_SET is not"),
        ("run --api-key=file:/no/such", "--api-key: cannot read /no/such: No such file"),
        ("run --base_model=x echo echo:b", "--base-model is the name of one server's model, and 2"),
        ("run vlmm:h", "server string: no backend 'vlmm'; did you mean 'vllm'?"),
        ("run vllm:h:99999", "server string: a port is a number from 1 to 65535"),
        ("check vllm:h:99999", "server string: a port is a number from 1 to 65535"),
        ("chat vlmm:h", "server string: no backend 'vlmm'; did you mean 'vllm'?"),
        ("ask", "nothing was asked"),
        ("ask --temperature warm hi", "invalid value for '--temperature': 'warm' is not "),
        ("completion tcsh", "invalid value for "),
    ],
)
def test_mistakes(call: H2O, served: list[Any], words: str, line: str) -> None:
    code, out, err = call(*words.split())
    assert code == 2
    assert out == ""
    assert err.startswith(f"h2o: {line}")
    assert "Traceback" not in err
    assert not served


def test_the_fault_in_a_server_string_is_pointed_at_and_its_key_is_not_shown(call: H2O) -> None:
    code, _, err = call("run", "vllm:h:99999:/v1:sk-SECRET")
    line, shown, caret, example = err.splitlines()
    assert code == 2
    assert line == "h2o: server string: a port is a number from 1 to 65535"
    assert shown[len(caret) - 1 :].startswith("99999")
    assert example.startswith("  example: vllm")
    assert "SECRET" not in err


def test_a_proxy_variable_that_is_no_url_is_named_and_not_shown(
    call: H2O, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "user:pass@nonsense")
    code, _, err = call("check", "echo")
    assert code == 2
    assert err.startswith("h2o: https_proxy: not the URL of a proxy")
    assert "pass" not in err


def test_debugging_shows_where_an_error_comes_from(call: H2O) -> None:
    words = ("run", "vlmm:h")
    assert "Traceback" not in call(*words)[2]
    assert "BadServerString" in call("--log-level", "debug", *words)[2]
    assert "BadServerString" in call(*words, "--log_level=debug")[2]


# Help and completion.


def test_help_of_every_command_teaches_by_example() -> None:
    for name in COMMANDS:
        result = CliRunner().invoke(h2o, [name, "--help"])
        assert result.exit_code == 0
        assert f"h2o {name}" in result.output.partition("Options:")[0].partition("\n")[2]


def test_help_shows_every_setting_with_default_and_variable() -> None:
    text = " ".join(CliRunner().invoke(h2o, ["run", "--help"]).output.split())
    for item in fields(Settings):
        assert f"--{item.name.replace('_', '-')}" in text
        assert f"H2O_{item.name.upper()}" in text
    for heading in ("Servers:", "Prompts:", "Network:", "Timeouts:", "Limits:", "Other:"):
        assert heading in text
    assert "[default: 7860; env: H2O_PORT, GRADIO_SERVER_PORT]" in text


def test_alone_it_shows_its_help(call: H2O) -> None:
    code, out, err = call()
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_version(call: H2O) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert out.startswith("h2o relay ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(call: H2O, shell: str) -> None:
    code, out, _ = call("completion", shell)
    assert code == 0
    assert out.startswith("# To install: ")
    assert "_H2O_COMPLETE" in out


# run


def test_run_hands_everything_over(call: H2O, served: list[Any]) -> None:
    words = "echo:a echo:b --openai_port=5999 --ui False --allow_open=None --idle_timeout 7"
    assert call("run", *words.split()) == (0, "", "")
    [(settings, servers)] = served
    assert (settings.openai_port, settings.ui, settings.allow_open) == (5999, False, False)
    assert settings.idle_timeout == 7
    assert [(spec.server.model, spec.base_model) for spec in servers] == [("a", None), ("b", None)]


def test_h2ogpts_way_of_naming_a_server(call: H2O, served: list[Any]) -> None:
    assert call("run", "--inference_server=echo:x", "--base_model=llama")[0] == 0
    [(_, [spec])] = served
    assert (spec.server.model, spec.base_model) == ("x", "llama")


def test_without_a_server_the_default_one_is_run(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_DEFAULT_SERVER", "echo:mine")
    assert call("run", "--inference_server=None", "--base_model=None")[0] == 0
    assert served[0][1][0].server.model == "mine"


def test_serve_is_run_without_a_ui(call: H2O, served: list[Any]) -> None:
    assert call("serve", "echo", "--ui")[0] == 0
    assert served[0][0].ui is False


def test_the_log_level_may_come_before_the_command(call: H2O, served: list[Any]) -> None:
    call("--log-level", "warning", "run", "echo")
    call("--log-level", "warning", "run", "echo", "--log-level=error")
    assert [settings.log_level for settings, _ in served] == ["warning", "error"]


def test_the_frontends_exit_code_is_the_commands(
    call: H2O, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "frontend", lambda name: lambda settings, servers, **_: 143)
    assert call("run", "echo")[0] == 143


def test_a_missing_frontend_is_named(call: H2O, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "FRONTENDS", "h2o_relay.no_frontends")
    code, _, err = call("run", "echo")
    assert code == 1
    assert err.splitlines() == [
        "h2o: no proxy frontend is installed",
        'install it with: pip install "h2o-relay[proxy]"',
    ]


def test_a_relay_is_not_put_in_front_of_itself(call: H2O, served: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("run", f"vllm:localhost:{port}", "--openai-port", str(port))
        assert call(*words)[0] == 0, "somebody else listens there: that is the server"
    code, _, err = call(*words)
    assert code == 2
    assert "is the address of this relay itself" in err
    assert f"--openai-port {port + 1}" in err
    assert call("run", f"vllm:localhost:{port}", "--openai-port", str(port ^ 1))[0] == 0


def test_keys_on_the_command_line_are_warned_of(call: H2O, served: list[Any]) -> None:
    _, _, err = call("run", "vllm:h:80:/v1:sk-SECRET", "--api-key", "sk-OTHER")
    assert len(err.splitlines()) == 2
    assert err.count("h2o: warning: ") == 2
    assert "sk-" not in err
    assert served[0][0].api_key == "sk-OTHER"


def test_keys_from_elsewhere(
    call: H2O, served: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-env")
    (tmp_path / "key").write_text("sk-file\n")
    assert call("run", "echo", "--api_key=env:MY_KEY") == (0, "", "")
    assert call("run", "echo", f"--api-key=file:{tmp_path / 'key'}") == (0, "", "")
    assert call("run", "echo", "--api-key", "-", piped=b"sk-stdin\n") == (0, "", "")
    monkeypatch.setenv("H2O_INFERENCE_SERVER", "vllm:h:80:/v1:sk-SECRET")
    assert call("run") == (0, "", "")
    assert [s.api_key for s, _ in served] == ["sk-env", "sk-file", "sk-stdin", None]


# check


@pytest.mark.usefixtures("no_sockets")
def test_parse_only_tells_everything_but_the_secrets(
    call: H2O, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    words = ("vllm_chat:h:5000:/v1:sk-SECRET", "openai_chat", "http://u:sk-SECRET@h/x",
             "http://h    Bearer    sk-SECRET")  # fmt: skip
    code, out, _ = call("check", "--parse-only", "--json", *words)
    vllm, openai, bare, tgi = json.loads(out)
    assert code == 0
    assert "sk-" not in out
    assert vllm == {
        "server": "vllm_chat:h:5000:/v1:***", "backend": "vllm", "api": "chat",
        "base_url": "http://h:5000/v1", "scheme": "http", "host": "h", "port": 5000, "path": "/v1",
        "has_key": True, "user": None, "headers": [], "deployment": None, "api_version": None,
        "endpoint": None, "region": None, "payload": None, "model": None, "base_model": None,
        "display_name": None,
    }  # fmt: skip
    assert (openai["backend"], openai["has_key"]) == ("openai", True)
    assert (openai["scheme"], openai["base_url"]) == (None, None)
    assert bare["backend"] == "probe:gradio_remote,tgi"
    assert (bare["user"], bare["host"], bare["path"], bare["headers"]) == ("u", "h", "/x", [])
    assert (tgi["backend"], tgi["user"], tgi["headers"]) == ("tgi", "Bearer", ["authorization"])


def test_the_base_model_decides_on_the_api(call: H2O) -> None:
    words = ("check", "openai", "--parse_only", "--json")
    apis = [json.loads(call(*words, "--base_model", name)[1])[0]["api"] for name in
            ("gpt-4", "gpt-3.5-turbo-instruct", "text-davinci-003")]  # fmt: skip
    assert apis == ["chat", "text", "text"]


def test_check_opens_the_servers(call: H2O) -> None:
    code, out, err = call("check", "echo:some-model", "--json")
    assert (code, err) == (0, "")
    [row] = json.loads(out)
    assert (row["server"], row["state"]) == ("echo:some-model", "healthy")
    assert row["models"] == [{"id": "some-model", "max_context": None}]


def test_one_bad_server_does_not_hide_the_others(call: H2O) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"vllm:127.0.0.1:{unused.getsockname()[1]}"
        code, out, err = call("check", "echo", gone, "vllm:h:99999")
        assert call("check", "echo", gone)[0] == 1
    assert code == 2
    _, healthy, offline = out.splitlines()
    assert healthy.split()[:4] == ["echo", "echo", "-", "healthy"]
    assert offline.startswith(gone)
    assert "offline: the upstream server could not be reached" in offline
    assert err.startswith("h2o: server string: a port is")


def test_a_wide_table_is_not_cut_in_a_pipe(call: H2O) -> None:
    name = "m" * 300
    _, out, _ = call("check", f"echo:{name}")
    assert f"  {name}  -" in out.splitlines()[1]


# models and plugin


def test_models_of_a_server(call: H2O) -> None:
    code, out, _ = call("models", "list", "echo:a", "echo:b")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["a", "echo:a", "-"],
        ["b", "echo:b", "-"],
    ]
    data = json.loads(call("models", "list", "echo:a", "--json")[1])
    assert data == [{"id": "a", "server": "echo:a", "owned_by": "echo", "max_context": None}]


def test_no_relay_is_running(call: H2O) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        code, out, err = call("models", "--openai_port", str(port))
        assert code == 2, "options belong to `models list`"
        code, out, err = call("models", "list", "--openai_port", str(port))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"h2o: no relay answers at http://127.0.0.1:{port}/v1", "start one with: h2o run"
    ]  # fmt: skip


def test_pulling_says_where_it_lies_and_how_to_run_it(call: H2O, tmp_path: Path) -> None:
    model = tmp_path / "tiny.gguf"
    model.write_bytes(b"GGUF" + bytes(60))
    code, out, err = call("models", "pull", str(model))
    assert (code, err) == (0, f"run it with: h2o run llama_cpp:{model}\n")
    assert out == f"{model}\n"
    data = json.loads(call("models", "pull", str(model), "--json")[1])
    assert data == {"server": f"llama_cpp:{model}", "path": str(model)}
    assert call("models", "pull")[1] == "echo needs nothing on this machine\n"


def test_plugins_and_why_one_is_left_out(call: H2O, tmp_path: Path) -> None:
    points = tmp_path / "plugins" / "h2o_relay_echo_test-1.0.dist-info" / "entry_points.txt"
    points.write_text(
        points.read_text().replace("[h2o_relay]", "[h2o_relay]\nbad = no_such_module")
    )
    code, out, err = call("plugins", "list", "--json")
    found = {row["name"]: row for row in json.loads(out)}
    assert (code, err) == (0, "")
    assert found["echo"] == {
        "name": "echo", "distribution": "h2o-relay-echo-test", "version": "1.0",
        "prefixes": ["echo"], "error": None,
        "hooks": ["parse_server_string", "generate", "stream", "list_models", "capabilities",
                  "count_tokens"],
    }  # fmt: skip
    assert found["bad"]["error"] == "it needs the package 'no_such_module', which is not installed"
    assert found["bad"]["hooks"] == []
    rows = call("plugin")[1].splitlines()
    assert any(row.startswith("bad ") and "'no_such_module'" in row for row in rows)
    names = json.loads(call("plugin", "list", "--json", "--load_plugins=echo")[1])
    assert [row["name"] for row in names] == ["echo"]


# ask


def test_ask_prints_the_answer_and_nothing_else(call: H2O) -> None:
    assert call("ask", "--server", "echo", "hello", "there") == (0, "hello there\n", "")
    [request] = echo.journal.requests
    assert request.params["messages"] == [{"role": "user", "content": "hello there"}]


def test_what_is_piped_in_stands_below_the_prompt(call: H2O) -> None:
    words = ("ask", "--server", "echo", "summarise", "--system", "be brief")
    code, out, _ = call(*words, piped="Zeile eins\nZwölf\n".encode())
    assert (code, out) == (0, "summarise\n\nZeile eins\nZwölf\n")
    assert echo.journal.requests[0].params["messages"][0]["content"] == "be brief"
    assert call("ask", "--server=echo", piped=b"only this")[1] == "only this\n"


def test_asked_for_parameters_are_sent(call: H2O) -> None:
    call("ask", "--server", "echo:m", "--temperature=0", "--max_tokens", "5", "-m", "m", "hi")
    params = echo.journal.requests[0].params
    assert (params["model"], params["temperature"], params["max_tokens"]) == ("m", 0, 5)
    call("ask", "--server", "echo", "--temperature=None", "hi")
    assert "temperature" not in echo.journal.requests[1].params


def test_the_completion_object(call: H2O) -> None:
    code, out, _ = call("ask", "--server", "echo", "--json=True", "hi there")
    data = json.loads(out)
    assert code == 0
    assert data["object"] == "chat.completion"
    assert data["choices"][0]["message"]["content"] == "hi there"
    assert data["usage"]["total_tokens"] == 4


@pytest.mark.parametrize(
    ("prompt", "out", "line"),
    [
        ("!refuse 429", "", "the echo refuses, as it was told to"),
        ("!break 1", "!break \n", "the upstream server reported an error: the echo broke off"),
        ("!cut 1", "!cut \n", "the echo went away, as it was told to"),
    ],
)
def test_a_failed_answer(call: H2O, prompt: str, out: str, line: str) -> None:
    code, said, err = call("ask", "--server", "echo", prompt)
    assert (code, said) == (1, out)
    assert err.startswith(f"h2o: {line}")
    assert len(err.splitlines()) == 1


def test_asking_for_a_model_that_is_not_there(call: H2O) -> None:
    code, out, err = call("ask", "--server", "echo:mixtral", "--model", "mistral", "hi")
    assert (code, out) == (1, "")
    assert err == "h2o: The model `mistral` does not exist. Did you mean mixtral?\n"


def test_asking_a_server_that_is_away(call: H2O) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = f"vllm:127.0.0.1:{unused.getsockname()[1]}"
        code, _, err = call("ask", "--server", server, "hi")
    assert code == 1
    assert err.startswith(f"h2o: no model to talk to: {server}: ")


def test_binary_input_is_refused(call: H2O) -> None:
    code, _, err = call("ask", "--server", "echo", piped=b"\xff\xfe")
    assert code == 2
    assert err == "h2o: what was piped in is not UTF-8 text\n"


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_chat_template_that_is_wrong(command: str, call: H2O, tmp_path: Path) -> None:
    template = tmp_path / "bad.jinja"
    template.write_text("{% if %}{{")
    code, _, err = call(command, f"--chat_template={template}", "echo:m")
    assert code == 2
    assert "--chat-template: " in err
    assert "line 1" in err
    assert len(err.splitlines()) == 1
