"""docs/from-h2ogpt.md: every command of h2oGPT's page has its equal, and every line of it works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from h2o_relay import settings as table
from h2o_relay.cli import main
from h2o_relay.commands import fetching
from h2o_relay.commands import run as run_module
from h2o_relay.errors import BadServerString
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.catalog import by_name_or_number, names
from h2o_relay.settings import Settings
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import running

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "from-h2ogpt.md").read_text(encoding="utf-8")
THEIRS: dict[str, Any] = json.loads(
    (ROOT / "tests" / "data" / "h2ogpt_document.json").read_text(encoding="utf-8")
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LOCK = re.compile(r"--model_lock=\"?(\[\{.*\}\])")
PLACEHOLDERS = {
    "<ip>": "192.168.1.46",
    "<IP>": "127.0.0.1",
    "<port>": "8000",
    "<key>": "sk-canary",
    "<...>": "sk-canary",
    "<deployment_name>": "my-gpt",
    "<base_url>": "me.openai.azure.com",
    "<api_version>": "2024-06-01",
    "<replicate model string>": "a16z-infra/llama13b-v2-chat:df7690f1",
    "<HF model name>": "meta-llama/Llama-2-13b-chat-hf",
    "<endpointname>": "my-endpoint",
    "<region>": "us-east-2",
    "192.168.1.xx": "192.168.1.47",
}
VISIBLE = (
    "h2oai/h2ogpt-4096-llama2-70b-chat", "h2oai/h2ogpt-4096-llama2-13b-chat",
    "HuggingFaceH4/zephyr-7b-alpha", "gpt-3.5-turbo-0613",
)  # fmt: skip
MODEL_LOCK = repr(
    [{"inference_server": "vllm_chat:192.168.1.46:80", "base_model": name} for name in VISIBLE]
)
KEPT = frozenset(
    {
        "inference_server", "base_model", "prompt_type", "prompt_dict", "max_seq_len",
        "max_new_tokens", "max_max_new_tokens", "concurrency_count", "visible_models", "save_dir",
        "h2ogpt_api_keys", "auth_filename", "enforce_h2ogpt_api_key", "enforce_h2ogpt_ui_key",
        "model_lock_columns", "gradio_size", "height",
    }
)  # fmt: skip
"""Flags that mean here what they mean there, so that an equal has to say the same."""
SHELL = r"""
h2o() { { printf '%s\0' "$@"; printf '\1'; env -0; printf '\2'; } >> "$CALLS"; }
python() { [ "$1" != generate.py ] || shift; h2o run "$@"; }
sleep() { wait; }
"""
Served = list[tuple[Settings, list[Any]]]
H2O = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Pair:
    """A command of h2oGPT and its equal, as the page has them."""

    title: str
    theirs: str
    ours: str


@dataclass(frozen=True)
class Command:
    """What a shell makes of a line: the words behind `h2o`, and the variables that are set."""

    words: list[str]
    env: dict[str, str]


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def pairs() -> list[Pair]:
    found = []
    for part in section("Commands").split("\n### ")[1:]:
        (_, theirs), (_, ours) = BLOCK.findall(part)
        found.append(Pair(part.partition("\n")[0], theirs.strip(), ours.strip()))
    return found


def rows(title: str) -> list[tuple[str, str]]:
    """The two columns of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [(left, right) for left, right in cells]


PAIRS = pairs()
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.title)
INLINE_RUNS = [text for text in INLINE.findall(DOC) if text.split()[:2] == ["h2o", "run"]]
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the lines are bash's")


def filled(text: str) -> str:
    for name, value in PLACEHOLDERS.items():
        text = text.replace(name, value)
    left = set(re.findall(r"<[^<>\n]+>", text)) - {"<human>", "<bot>"}
    assert not left, f"placeholders are left: {left}"
    return text


def shell(lines: str, folder: Path) -> list[Command]:
    """What bash calls when these lines are pasted."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    subprocess.run(
        ["bash", "-c", f"{SHELL}\n{filled(lines)}\nwait"], cwd=folder, check=True, timeout=20,
        env={"PATH": os.environ["PATH"], "CALLS": str(calls), "MODEL_LOCK": MODEL_LOCK},
    )  # fmt: skip
    commands = []
    for record in calls.read_text().split("\2")[:-1]:
        words, _, variables = record.partition("\1")
        env = dict(line.partition("=")[::2] for line in variables.split("\0") if line)
        for name in ("PATH", "CALLS", "PWD", "SHLVL", "_", "OLDPWD"):
            env.pop(name, None)
        commands.append(Command(words.split("\0")[:-1], env))
    return commands


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """What `run` hands over to its frontend. Nothing is fetched, and nothing listens."""
    calls: Served = []

    def serve(settings: Settings, servers: list[Any], **_: Any) -> int:
        calls.append((settings, servers))
        return 0

    async def fetch_nothing(plugins: Any, servers: Any, settings: Any) -> list[None]:
        return [None for _ in servers]

    monkeypatch.setattr(run_module, "frontend", lambda name: serve)
    monkeypatch.setattr(fetching, "fetch_all", fetch_nothing)
    return calls


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    served: Served,
    no_settings: None,
) -> H2O:
    """Run `h2o` in a folder with the files that the page names: exit code, stdout, stderr."""
    monkeypatch.setenv("H2O_DISCOVER", "0")  # whatever runs on this machine
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8-canary")
    monkeypatch.setenv("H2O_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "key.txt").write_text("sk-of-the-relay\n")
    (tmp_path / "template.jinja").write_text("{{ messages[0].content }}")
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "hi"}]')
    monkeypatch.chdir(tmp_path)

    def run(command: Command) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in command.env.items():
                patch.setenv(name, value)
            code = main(command.words)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def flags(words: list[str]) -> dict[str, str]:
    """`--a=b` by name, and the server that stands alone."""
    found: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            found[name] = value if equals else "True"
        else:
            found["inference_server"] = word
    return found


# Commands.


def test_every_command_of_the_page_is_there_in_its_order() -> None:
    assert [pair.theirs for pair in PAIRS] == [entry["block"] for entry in THEIRS["commands"]]
    assert len(PAIRS) == 22


@needs_bash
@each_pair
def test_the_equal_says_the_same(pair: Pair, tmp_path: Path) -> None:
    theirs, ours = shell(pair.theirs, tmp_path), shell(pair.ours, tmp_path)
    assert len(theirs) == len(ours)
    assert [command.words[0] for command in ours] == ["run"] * len(ours)
    assert LOCK.findall(pair.theirs) == LOCK.findall(pair.ours)
    for old, new in zip(theirs, ours, strict=True):
        before = {name: value for name, value in flags(old.words).items() if name in KEPT}
        after = flags(new.words)
        if "num_async" in flags(old.words):
            before["concurrency_count"] = flags(old.words)["num_async"]
        if pair.title == "Ollama":
            del before["prompt_type"]  # it changed nothing there either: vllm_chat overruled it
        assert {name: after.get(name) for name in before} == before
        assert {name for name in after if name in KEPT} == set(before)


@needs_bash
@each_pair
def test_the_equal_runs(pair: Pair, tmp_path: Path, call: H2O, served: Served) -> None:
    for command in shell(pair.ours, tmp_path):
        code, _, err = call(command)
        given = flags(command.words)
        if runs_here(given):
            assert_engine_is_missed(code, err)
            continue
        assert code == 0, err
        settings, servers = served.pop()
        if "model_lock" in given:
            assert len(servers) >= len(re.findall("inference_server", given["model_lock"]))
        elif "base_model" in given:
            assert settings.base_model == given["base_model"]
    assert not served


@needs_bash
@each_pair
def test_what_h2ogpts_users_paste_is_understood(
    pair: Pair, tmp_path: Path, call: H2O, served: Served
) -> None:
    for command in shell(pair.theirs, tmp_path):
        code, _, err = call(command)
        given = flags(command.words)
        if LOCK.search(pair.theirs) and '"[' not in pair.theirs:
            assert code == 2, "the shell has taken the lock to pieces"
            assert re.search(r"""--model[_-]lock=["']\[""", err), err
        elif given.get("inference_server") == "vllm:0.0.0.0:5000" and code:
            assert "is the address of this relay itself" in err
        elif runs_here(given):
            assert_engine_is_missed(code, err)
        else:
            assert code == 0, err
            assert served.pop()[0]
        served.clear()


def runs_here(given: Mapping[str, str]) -> bool:
    """A model's name alone: there has to be an engine for it."""
    return "base_model" in given and not {"inference_server", "model_lock"} & set(given)


def assert_engine_is_missed(code: int, err: str) -> None:
    """No vLLM engine is configured here, and the name is no GGUF file's: one line says both."""
    assert code == 2, err
    assert "vllm" in err.lower(), err
    assert re.search(r"llama.?cpp|gguf", err.lower()), err


@needs_bash
@pytest.mark.parametrize("line", INLINE_RUNS)
def test_lines_in_sentences_run(line: str, tmp_path: Path, call: H2O) -> None:
    (command,) = shell(line, tmp_path)
    code, _, err = call(command)
    assert code == 0, err


def test_no_line_is_left_out() -> None:
    """Every place where the page says `h2o run` is one that a test here reads."""
    in_pairs = sum(pair.ours.count("h2o run") for pair in PAIRS)
    assert DOC.count("h2o run") == in_pairs + len(INLINE_RUNS)
    assert len(INLINE_RUNS) >= 5


@needs_bash
def test_prompt_commands_run(tmp_path: Path, call: H2O) -> None:
    (lines,) = [code for _, code in BLOCK.findall(section("Prompt types"))]
    commands = shell(lines, tmp_path)
    assert len(commands) == 4
    for command in commands:
        code, out, err = call(command)
        assert code == 0, err
        assert out


# Tables.


def words_in(text: str, pattern: str) -> set[str]:
    return {found for code in INLINE.findall(text) for found in re.findall(pattern, code)}


def test_every_flag_of_the_page_is_explained() -> None:
    explained = {name for left, _ in rows("Flags") for name in words_in(left, r"--(\w+)")}
    assert set(THEIRS["flags"]) <= explained


def test_the_flags_that_replace_them_exist() -> None:
    known = {name for param in run_module.run.params for name in param.opts}
    for left, right in rows("Flags"):
        here = words_in(right, r"--(\w+)")
        if right.startswith("the same"):
            here |= words_in(left, r"--(\w+)")
        meant = here - {"auth", "auth_access"}  # of h2oGPT, in the sentence on --auth=closed
        missing = {name for name in meant if f"--{name.replace('_', '-')}" not in known}
        assert not missing, f"h2o run has no {missing}"


def strings() -> list[str]:
    cells = [cell for row in rows("Server strings") for cell in row]
    codes = [code for cell in cells for code in INLINE.findall(cell)]
    return [c for c in codes if re.match(r"[a-z_]+(:[^ ]|$)", c) and not c.endswith("://")]


@pytest.mark.parametrize("text", strings())
def test_server_strings_are_read(text: str) -> None:
    server = Plugins.discover().parse(text)
    assert (server.plugin is None) == text.startswith("http"), "a bare URL is found out later"
    for secret in ("sk-1234", "1234ABCD", "AUTH", "password"):
        assert secret not in server.shown


@pytest.mark.parametrize("prefix", ["anthropic", "google", "mistralai", "sglang"])
def test_what_nobody_serves_is_refused_by_name(prefix: str) -> None:
    assert f"`{prefix}`" in section("Server strings")
    with pytest.raises(BadServerString, match=prefix):
        Plugins.discover().parse(f"{prefix}:h:80")


def test_the_prompt_types_are_all_named() -> None:
    listed = re.findall(r"(-?\d+) `(\w+)`", section("Prompt types"))
    assert listed == sorted(
        ((str(by_name_or_number(name).number), name) for name in names()),
        key=lambda entry: int(entry[0]),
    )


def test_every_variable_of_the_page_is_explained() -> None:
    explained = {n for left, _ in rows("Environment variables") for n in words_in(left, r"^\w+$")}
    assert set(THEIRS["variables"]) <= explained


def test_the_variables_that_replace_them_are_read() -> None:
    known = {name for item in fields(Settings) for name in table.env_names(item.name)}
    plugins = Plugins.discover()
    for text in ("openai", "openai_azure:my-gpt:me.openai.azure.com", "replicate:owner/name:v"):
        known |= set(plugins.parse(text).key_env)
    for left, right in rows("Environment variables"):
        here = words_in(right, r"^H2O_\w+$")
        if right.startswith("the same"):
            here |= words_in(left, r"^\w+$")
        unknown = {name for name in here - known if not name.startswith("AWS_")}  # its SDK does
        assert not unknown, f"nobody reads {unknown}"


# Clients.

SPOKEN = (
    "h2oai/h2ogpt-4096-llama2-70b-chat",
    "h2oai/h2ogpt-research-oasst1-llama-65b",
)  # the models that the snippets ask for
ELSEWHERE = {
    "from text_generation import Client": "asks a TGI server itself",
    "curl 127.0.0.1:6112/generate": "asks a TGI server itself",
    "from vllm import LLM": "runs vLLM in its own process",
    "from gradio_client import Client": "asks h2oGPT's Gradio API",
}
ANSWERS = {"Who are you?": "Who are you?", "San Francisco is a": "San Francisco is a"}
OF_THE_API = [s for s in THEIRS["snippets"] if re.search(r"openai|/v1/", s["code"])]
OWN = [
    {"language": language, "code": code, "section": "Clients"}
    for language, code in BLOCK.findall(section("Clients"))
]
SNIPPETS = [
    pytest.param(snippet, key, id=f"{snippet['section']}-{snippet['language']}-{key or 'open'}")
    for snippet in (*OF_THE_API, *OWN)
    for key in ("", "sk-of-the-relay")
    if not key or "<API_KEY>" in snippet["code"]  # the curl lines send none
]


def test_every_snippet_is_run_or_speaks_to_something_else() -> None:
    for snippet in THEIRS["snippets"]:
        elsewhere = [start for start in ELSEWHERE if start in snippet["code"]]
        assert len(elsewhere) + (snippet in OF_THE_API) == 1, snippet["code"]
    assert len(OF_THE_API) == 2
    assert len(OWN) == 2


@contextlib.asynccontextmanager
async def relay(**changes: Any) -> AsyncIterator[int]:
    """A relay in front of the echo; its port."""
    settings = quick(**changes)
    servers = [f"echo:{name}" for name in SPOKEN]
    async with Kernel(settings, servers, Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        app = create_app(kernel, settings, kernel.instance)
        sock = bind("127.0.0.1", 0)
        port = sock.getsockname()[1]
        async with running(app, settings, sock):
            yield port


@pytest.mark.e2e
@pytest.mark.parametrize(("snippet", "key"), SNIPPETS)
async def test_snippets_run_as_they_stand(
    snippet: dict[str, str], key: str, tmp_path: Path
) -> None:
    code = snippet["code"].replace("<API_KEY>", key or "EMPTY").replace("<IP>", "127.0.0.1")
    python = snippet["language"] == "python"
    async with relay(**({"api_key": key} if key else {})) as port:
        assert ":5000" in code
        code = code.replace(":5000", f":{port}")
        program = [sys.executable, "-c", code] if python else ["bash", "-ec", code]
        process = await asyncio.create_subprocess_exec(
            *program, cwd=tmp_path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, err
    wanted = [answer for asked, answer in ANSWERS.items() if asked in code]
    assert len(wanted) == 1
    said = out if python else json.loads(out)["choices"][0]["text"]
    assert said.strip() == wanted[0]
