"""`vllm:local:MODEL`: starting, watching and stopping a vLLM, with a fake `vllm` command."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import until

import h2o_relay_vllm as plugin
from h2o_relay import settings
from h2o_relay.errors import BadServerString, RelayError, UpstreamUnavailable
from h2o_relay.kernel import Kernel
from h2o_relay.lock import configured
from h2o_relay.plugins import Plugins
from h2o_relay.resolve import resolve
from h2o_relay.settings import Settings
from h2o_relay.types import Request, Server

from .vllm_kit import COMMAND, FAKE, Fake

MODEL = "org/model"
SAY = {"model": MODEL, "messages": [{"role": "user", "content": "Say it."}]}
BROKEN = """\
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:708] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-22 22:13:28 [core.py:708] ValueError: the model is too large
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    return Fake(monkeypatch, tmp_path)


def server(text: str = f"vllm_chat:local:{MODEL}") -> Server:
    parsed = plugin.parse_server_string(text)
    assert parsed is not None
    return resolve(parsed, None, settings.environment())


@asynccontextmanager
async def relay(text: str = f"vllm_chat:local:{MODEL}", wait: bool = True) -> AsyncIterator[Kernel]:
    async with Kernel(Settings(drain_timeout=1), [text], Plugins.discover("vllm")) as kernel:
        if wait:
            await kernel.settled(20)
        yield kernel


async def said(kernel: Kernel, kind: Any = "chat", **params: Any) -> str:
    async with kernel.stream(kind, params or SAY) as answer:
        return "".join([chunk.text async for chunk in answer])


def command_lines() -> str:
    """Of all processes, as every user of the machine may read them."""
    listed = subprocess.run(["ps", "-axwwo", "args="], capture_output=True, text=True)
    return listed.stdout


async def test_it_answers_and_stops_with_the_relay(fake: Fake) -> None:
    async with relay() as kernel:
        [found] = kernel.models()
        assert (found.name, found.model, found.max_context) == (MODEL, MODEL, 512)
        assert await said(kernel) == "Hello"
        assert (await kernel.generate("chat", SAY)).text == "Hello"
        assert await said(kernel, "text", model=MODEL, prompt="Say it.") == "Hello"
        [link] = [route.link for route in kernel.snapshot.routes.values()]
        request = Request(kind="text", params={"prompt": "four"}, body=None, deployment=found)
        assert await plugin.count_tokens(link.server, link.client, request) == 4
        assert (await plugin.load(link.server, link.client)).running == 1
        assert len(fake.alive) == 2
    assert len(fake.pids) == 2
    assert fake.alive == []


async def test_what_it_is_started_with(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("VLLM_EXTRA", "handed on")
    fake.set(ARGS="--max-model-len 256 --chat-template 'two words' --port 1")
    async with plugin.connect(server()) as endpoint:
        [start] = fake.starts
        port = endpoint.url.rpartition(":")[2]
        key = endpoint.headers["authorization"].removeprefix("Bearer ")
        listed = await asyncio.to_thread(command_lines)
        assert str(FAKE) in listed
        assert key not in listed
        assert key not in repr(endpoint)
    assert start["argv"] == [
        "serve", MODEL, "--served-model-name", MODEL, "--disable-uvicorn-access-log",
        "--max-model-len", "256", "--chat-template", "two words", "--port", "1",
        "--host", "127.0.0.1", "--port", port,
    ]  # fmt: skip
    env = start["env"]
    assert env["PYTHONPATH"] == env["PYTHONHOME"] == ""
    assert env["VLLM_EXTRA"] == "handed on"
    assert env["VLLM_API_KEY"] == key
    assert len(key) > 30


@pytest.mark.parametrize(
    "configuration",
    [
        Settings(inference_server=f"vllm_chat:local:{MODEL}", max_seq_len=384),
        Settings(model_lock=str([{"inference_server": f"vllm:local:{MODEL}", "max_seq_len": 384}])),
    ],
    ids=["flag", "lock"],
)
async def test_the_context_that_was_set_is_handed_on(fake: Fake, configuration: Settings) -> None:
    fake.set(ARGS="--max-model-len 256")
    given = configured(configuration).specs
    async with Kernel(configuration, given, Plugins.discover("vllm")) as kernel:
        await kernel.settled(20)
        assert [(model.name, model.max_context) for model in kernel.models()] == [(MODEL, 384)]
        [link] = [route.link for route in kernel.snapshot.routes.values()]
        [listed] = await link.plugin.list_models(link.server, link.client)
    assert listed.max_context == 384, "what it says itself"
    [start] = fake.starts
    assert start["argv"][-8:-4] == ["--max-model-len", "256", "--max-model-len", "384"]


async def test_a_folder_is_served_by_its_name(fake: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    async with relay(f"vllm:local:{folder}") as kernel:
        assert [model.name for model in kernel.models()] == ["my-model"]
    assert fake.starts[0]["argv"][1] == str(folder)


async def test_one_program_has_its_folder_first_in_its_path(fake: Fake, tmp_path: Path) -> None:
    command = tmp_path / "vllm"
    command.write_text(f'#!/bin/sh\nexec {COMMAND} "$@"\n')
    command.chmod(0o755)
    fake.set(COMMAND=str(command))
    async with plugin.connect(server()):
        path = fake.starts[0]["env"]["PATH"]
    assert path == f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


async def test_an_interpreter_runs_the_module(fake: Fake, tmp_path: Path) -> None:
    package = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(
        "import runpy, sys\n"
        "assert sys.argv[1] == '--model'\n"
        f"sys.argv[:2] = ['vllm', 'serve']\nrunpy.run_path({str(FAKE)!r}, run_name='__main__')\n"
    )
    # What a venv's Python is to vLLM: one that finds it, whatever PYTHONPATH says.
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(tmp_path / "site"))} exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    fake.set(COMMAND=None, PYTHON=str(python))
    async with relay() as kernel:
        assert await said(kernel) == "Hello"
    assert fake.starts[0]["argv"][:2] == ["serve", MODEL]
    assert fake.starts[0]["env"]["PYTHONSAFEPATH"] == "1"


async def test_a_slow_start_holds_up_nobody(fake: Fake) -> None:
    fake.plan(slow=4.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with relay(wait=False) as kernel:
        assert loop.time() - began < 3.5
        assert kernel.status()[0].stage == "opening"
        assert kernel.snapshot.pending
        await kernel.settled(20)
        assert loop.time() - began >= 4.0
        assert await said(kernel) == "Hello"


async def test_leaving_during_the_start_stops_it(fake: Fake) -> None:
    fake.plan(slow=600)
    async with relay(wait=False):
        await until(lambda: len(fake.pids) == 2)
    assert fake.alive == []


async def test_a_failure_shows_its_cause(fake: Fake) -> None:
    fake.plan(fail=BROKEN)
    async with relay() as kernel:
        [status] = kernel.status()
        with pytest.raises(UpstreamUnavailable) as caught:
            await said(kernel)
    assert status.stage == "offline"
    assert status.reason == (
        f"vLLM with {MODEL} stopped while starting (exit status 1); its last words: "
        "ValueError: the model is too large | "
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
    assert "the model is too large" in str(caught.value)
    assert fake.alive == []


async def test_wrong_arguments_are_shown(fake: Fake) -> None:
    fake.set(ARGS="--max-model-len many")
    with pytest.raises(UpstreamUnavailable, match="error: argument --max-model-len: invalid int"):
        async with plugin.connect(server()):
            pass


async def test_a_start_has_its_limit(fake: Fake) -> None:
    fake.plan(slow=600)
    fake.set(START_LIMIT="0.5")
    with pytest.raises(UpstreamUnavailable, match=r"did not answer /health within 0\.5 s"):
        async with plugin.connect(server()):
            pass
    assert fake.alive == []


async def test_one_that_dies_comes_back(fake: Fake) -> None:
    async with relay() as kernel:
        first, worker = fake.pids
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(fake.starts) == 2)
        await until(lambda: worker not in fake.alive)  # its own children go with it
        async with asyncio.timeout(15):
            while True:
                try:
                    answer = await said(kernel)
                    break
                except RelayError:
                    await asyncio.sleep(0.05)
        assert answer == "Hello"
        assert first not in fake.alive
        assert len(fake.alive) == 2
    assert fake.alive == []


async def test_it_does_not_outlive_a_relay_that_is_killed(fake: Fake, tmp_path: Path) -> None:
    script = tmp_path / "relay.py"
    script.write_text(
        "import asyncio, h2o_relay_vllm as plugin\n"
        "from h2o_relay import settings\n"
        "from h2o_relay.resolve import resolve\n"
        "async def main():\n"
        f"    server = plugin.parse_server_string('vllm:local:{MODEL}')\n"
        "    async with plugin.connect(resolve(server, None, settings.environment())):\n"
        "        print('serving', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"serving\n"
        assert len(fake.alive) == 2
    finally:
        process.kill()
        await process.wait()
    await until(lambda: fake.alive == [])


async def test_without_a_vllm_one_line_says_how_to_get_one(fake: Fake) -> None:
    fake.set(COMMAND=None)
    line = (
        "server string 'vllm_chat:local:org/model': no vLLM is set up to run it; make one: "
        "python3 -m venv vllm-venv && vllm-venv/bin/pip install vllm, then set "
        "H2O_VLLM_COMMAND=$PWD/vllm-venv/bin/vllm."
    )
    with pytest.raises(BadServerString) as caught:
        await plugin.fetch(server(), lambda *a: None)
    assert caught.value.message == line
    async with relay() as kernel:
        assert kernel.status()[0].reason == line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"PYTHON": "/bin/sh"}, "set H2O_VLLM_COMMAND or H2O_VLLM_PYTHON, not both"),
        ({"COMMAND": "/no/such/vllm"}, "H2O_VLLM_COMMAND is '/no/such/vllm', and there is no such"),
        ({"COMMAND": None, "PYTHON": "no-such-python"}, "H2O_VLLM_PYTHON is 'no-such-python'"),
        ({"ARGS": "--chat-template 'two"}, "H2O_VLLM_ARGS cannot be read: No closing quotation"),
        ({"START_LIMIT": "soon"}, "H2O_VLLM_START_LIMIT is 'soon', and no number of seconds"),
        ({"START_LIMIT": "-1"}, "H2O_VLLM_START_LIMIT is '-1'"),
        ({"START_LIMIT": "nan"}, "H2O_VLLM_START_LIMIT is 'nan'"),
    ],
)
async def test_wrong_options_are_refused(
    fake: Fake, options: dict[str, str | None], reason: str
) -> None:
    fake.set(**options)
    with pytest.raises(BadServerString) as caught:
        await plugin.fetch(server(), lambda *a: None)
    assert reason in caught.value.reason
    with pytest.raises(UpstreamUnavailable, match="server string 'vllm_chat:local:org/model'"):
        async with plugin.connect(server()):
            pass
    assert fake.starts == []


async def test_a_missing_folder_is_refused(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(BadServerString, match=r"there is no .*/nothing"):
        await plugin.fetch(server(f"vllm:local:{tmp_path}/nothing"), lambda *a: None)


async def test_other_servers_need_no_vllm(fake: Fake) -> None:
    fake.set(COMMAND=None)
    remote = server("vllm:host:8000")
    assert await plugin.fetch(remote, lambda *a: None) is None
    async with plugin.connect(remote) as client:
        assert client is None  # the kernel's own client is used
