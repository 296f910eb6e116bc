"""The API as a process of its own: leaving on a signal, and a configuration that changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import hang, play, sse
from h2o_relay.testing.upstream import ScriptedUpstream, until

from .kit import asked_of, assert_cut, assert_error, assert_intact, chat, get, post, said, serving
from .raw_client import Client, Reply

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows"),
]

PROGRAM = Path(__file__).with_name("serving_process.py")
SOON = 30.0  # seconds, on a machine that has other things to do
ENDS = 10.0
"""Within which the process is gone once nothing is waited for; it takes 0.5 s at most where nothing
else runs, and `drain_timeout` would be longer."""


@dataclass
class Process:
    """A relay that runs, and what it has said."""

    process: asyncio.subprocess.Process
    upstream: ScriptedUpstream
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def port(self) -> int:
        found = re.search(r"API +http://127\.0\.0\.1:(\d+)/v1", self.output)
        assert found is not None, self.output
        return int(found[1])

    async def says(self, pattern: str) -> None:
        await until(lambda: re.search(pattern, self.output), within=SOON)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield client
        finally:
            await client.close()

    async def ask(self, data: bytes) -> Reply:
        async with self.client() as client:
            await client.send(data)
            return await client.reply()

    async def models(self) -> list[str]:
        data = (await self.ask(get("/v1/models"))).json()["data"]
        return [entry["id"] for entry in data]

    async def ended(self, within: float = ENDS) -> int:
        """The exit status."""
        async with asyncio.timeout(within):
            return await self.process.wait()


def as_at_first() -> None:
    """SIGHUP ends a process, also where the tests run under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextlib.asynccontextmanager
async def process(
    upstream: ScriptedUpstream, folder: Path, config: Path | None = None,
    terminal: int = asyncio.subprocess.DEVNULL, **flags: Any,
) -> AsyncIterator[Process]:  # fmt: skip
    told = {"openai_port": 0, "save_dir": str(folder / "data"), **flags}
    if config is None:
        told["servers"] = [f"vllm_chat:{upstream.url}/v1"]
    command = [str(PROGRAM), orjson.dumps(told).decode(), *([str(config)] if config else [])]
    started = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=terminal,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=as_at_first,
    )  # fmt: skip
    running = Process(started, upstream)

    async def read() -> None:
        assert started.stdout is not None
        async for line in started.stdout:
            running.lines.append(line.decode().rstrip())

    reading = asyncio.create_task(read())
    try:
        await running.says("Ctrl-C stops it")
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()
        await reading


async def test_it_leaves_when_its_last_answer_has_ended(tmp_path: Path) -> None:
    script = sse(said(20)).paced(0.05)
    async with (
        ScriptedUpstream(serving(script)) as upstream,
        process(upstream, tmp_path) as running,
        running.client() as idle,
    ):
        await idle.send(get("/health"))
        assert (await idle.reply()).status == 200
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert_error(await running.ask(get("/readyz")), 503, "draining")
        assert_error(await running.ask(post(chat())), 503, "draining")
        assert_intact(await asking, said(20))
        start = time.monotonic()
        assert await running.ended() == 0
        took = time.monotonic() - start
    assert "Traceback" not in running.output
    assert took < ENDS


async def test_answers_that_last_too_long_are_cut(tmp_path: Path) -> None:
    """F76."""
    script = sse(said(9)).upto(3) + play(hang)
    async with (
        ScriptedUpstream(serving(script)) as upstream,
        process(upstream, tmp_path, drain_timeout=3) as running,
    ):
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        await asyncio.sleep(0.2)
        running.process.send_signal(signal.SIGINT)
        assert_cut(await asking, said(3, None), "gateway_shutdown")
        assert await running.ended() == 0
    assert "Traceback" not in running.output


async def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    """F77."""
    async with (
        ScriptedUpstream(serving(play(hang))) as upstream,
        process(upstream, tmp_path, drain_timeout=60) as running,
    ):
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert running.process.returncode is None
        running.process.send_signal(signal.SIGTERM)
        assert_error(await asking, 503, "gateway_shutdown")
        assert await running.ended() == 128 + signal.SIGTERM
    assert "Traceback" not in running.output


def written(path: Path, upstream: ScriptedUpstream, *names: str) -> None:
    """A configuration that serves the upstream's model under these names."""
    models = [{"inference_server": f"vllm_chat:{upstream.url}/v1", "base_model": n} for n in names]
    path.write_bytes(orjson.dumps({"models": models}))


def broken(path: Path) -> None:
    path.write_text("models: [\n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "h2o.yaml"


async def test_the_file_is_followed(tmp_path: Path, config: Path) -> None:
    async with ScriptedUpstream(serving(sse(said(3)))) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config) as running:
            assert await running.models() == ["one"]
            written(config, upstream, "one", "two")
            await running.says(r"h2o\.yaml: 1 added, 1 kept")
            assert await running.models() == ["one", "two"]
            broken(config)
            await running.says(r"h2o\.yaml is wrong, the old configuration goes on: line 2")
            assert await running.models() == ["one", "two"]
            assert_intact(await running.ask(post(chat(model="two"))), said(3))
            written(config, upstream, "two")
            await running.says(r"h2o\.yaml: 1 removed, 1 kept")
            assert await running.models() == ["two"]
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
    assert "Traceback" not in running.output


async def test_a_signal_reloads_the_file(tmp_path: Path, config: Path) -> None:
    async with ScriptedUpstream(serving(sse(said(3)))) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config) as running:
            running.process.send_signal(signal.SIGHUP)
            await running.says(r"h2o\.yaml: 1 kept")
            assert await running.models() == ["one"]


async def test_a_stream_outlives_the_server_that_is_taken_out(tmp_path: Path, config: Path) -> None:
    script = sse(said(40)).paced(0.05)
    async with ScriptedUpstream(serving(script)) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config) as running:
            asking = asyncio.create_task(running.ask(post(chat(model="one"))))
            await until(lambda: asked_of(upstream), within=SOON)
            written(config, upstream, "other")
            running.process.send_signal(signal.SIGHUP)
            await running.says(r"h2o\.yaml: 1 added, 1 removed")
            assert not asking.done()
            assert_intact(await asking, said(40))
            assert await running.models() == ["other"]


async def test_the_administrator_reloads_the_file(tmp_path: Path, config: Path) -> None:
    key = {"Authorization": "Bearer pass"}
    reload = post({}, "/admin/config/reload", key)
    async with ScriptedUpstream(serving(sse(said(3)))) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config, admin_pass="pass") as running:
            written(config, upstream, "two", "one")
            reply = await running.ask(reload)
            assert reply.status == 200, reply.body
            # It may have been noticed already that the file has changed.
            assert reply.json()["kept"] in (1, 2)
            assert await running.models() == ["two", "one"]
            broken(config)
            reply = await running.ask(reload)
            assert_error(reply, 400, "invalid_config", "invalid_request_error")
            assert "line 2" in reply.error["message"]
            assert await running.models() == ["two", "one"]
            assert (await running.ask(post({}, "/admin/config/reload"))).status == 401


async def test_without_a_file_there_is_nothing_to_reload(tmp_path: Path) -> None:
    key = {"Authorization": "Bearer pass"}
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, admin_pass="pass") as running,
    ):
        reply = await running.ask(post({}, "/admin/config/reload", key))
        assert_error(reply, 400, "invalid_value", "invalid_request_error")
        assert "--config" in reply.error["message"]
        running.process.send_signal(signal.SIGHUP)
        assert await running.ended() == -signal.SIGHUP


async def test_a_terminal_that_is_closed_ends_it(tmp_path: Path, config: Path) -> None:
    """Its hang-up is no wish to reload, though there is a file."""
    keyboard, screen = os.openpty()
    async with ScriptedUpstream(serving(sse(said(3)))) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config, terminal=screen) as running:
            os.close(screen)
            os.close(keyboard)
            running.process.send_signal(signal.SIGHUP)
            assert await running.ended() == 0
