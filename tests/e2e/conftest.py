"""Real parts: the `h2o` command in a process of its own, a real llama.cpp server, a real model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from h2o_relay.errors import RelayError

KEY = "sk-upstream-canary-1f9a"
MODEL = "SmolLM2-135M-Instruct"
ENV = {"H2O_LLAMA_CPP_THREADS": "1", "H2O_DISCOVER": "0"}
"""Two threads spin against each other when a machine of two cores is busy, and whatever else runs
on this machine is left alone."""
START_LIMIT = 60.0  # seconds
Run = Callable[..., contextlib.AbstractContextManager["Relay"]]


class Relay:
    """A running `h2o run`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, within: float = START_LIMIT) -> re.Match[str]:
        """The first match in the console's output; fails the test if it does not come."""
        deadline = time.monotonic() + within
        with self._news:
            while True:
                match = re.search(pattern, self.output)
                if match:
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    pytest.fail(f"{pattern!r} was not printed; this was:\n{self.output}")
                self._news.wait(min(left, 0.5))

    def stop(self) -> int:
        """As Ctrl-C does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(15)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def h2o() -> str:
    """The command that is installed beside this Python."""
    return str(Path(sys.executable).with_name("h2o"))


@contextlib.contextmanager
def relay(
    *arguments: str, env: dict[str, str] | None = None, ready: bool = True
) -> Iterator[Relay]:
    """`h2o run` with these arguments on a free port, without the UI unless asked for."""
    command = [h2o(), "run", "--openai-port=0", "--no-ui", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **ENV, **(env or {})},
    )  # fmt: skip
    running = Relay(process)
    try:
        running.url = running.wait_for(r"API +(http://\S+)/v1")[1]
        if ready:
            running.wait_for("Ctrl-C stops it")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The default model, fetched as `h2o models pull` does."""
    from h2o_relay.plugins import Plugins

    plugins = Plugins.discover("llama_cpp")
    server = plugins.parse("llama_cpp")
    try:
        found = asyncio.run(plugins.get("llama_cpp").fetch(server, lambda *_: None))
    except RelayError as error:
        reason = f"the default model cannot be fetched here: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert found is not None
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Llama:
    """A llama.cpp server that is not ours, in a process that can be killed; it wants KEY."""

    def __init__(
        self, model_file: Path, slots: int = 4,
        program: Sequence[str] = ("-m", "h2o_relay_llama_cpp.server"),
    ) -> None:  # fmt: skip
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._command: Sequence[str] = [
            sys.executable, *program, "--model", str(model_file),
            "--alias", "smollm2", "--port", str(self.port), "--ctx", "2048", "--slots", str(slots),
            "--threads", "1",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self.process.stdin is not None
        self.process.stdin.write(f"{KEY}\n".encode())
        self.process.stdin.flush()

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_LIMIT
        while not _healthy(self.port):
            assert self.process is not None
            assert self.process.poll() is None, "llama.cpp did not start"
            assert time.monotonic() < deadline, "llama.cpp does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: it says no word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process = None


@pytest.fixture(scope="session")
def llama_server(model_file: Path) -> Iterator[str]:
    """A llama.cpp server that is not ours: its URL with /v1; it wants KEY."""
    server = Llama(model_file)
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.kill()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def run() -> Run:
    return relay


@pytest.fixture(scope="session")
def embedded(model_file: Path) -> Iterator[Relay]:
    """`h2o run` in front of the embedded model."""
    with relay() as running:
        yield running


@pytest.fixture(scope="session", params=["vllm_chat", "openai_chat"])
def remote(request: pytest.FixtureRequest, llama_server: str) -> Iterator[Relay]:
    """`h2o run` in front of the llama.cpp server, by either plugin."""
    host = llama_server.removeprefix("http://")
    strings = {
        "vllm_chat": f"vllm_chat:{host.replace('/v1', '')}:/v1:{KEY}",
        "openai_chat": f"openai_chat:None:{llama_server}:None:{KEY}",
    }
    with relay(strings[request.param]) as running:
        yield running
