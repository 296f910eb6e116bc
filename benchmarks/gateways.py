"""The processes of a benchmark: the upstream, and the relays in front of it, one at a time."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from h2o_relay.settings import environment

from . import cpu, wire

ROOT = Path(__file__).resolve().parents[1]
START, STOP = 30.0, 10.0
LOG_TAIL = 2000
# What could make a run differ from the defaults that it claims to measure.
FOREIGN = ("H2O_", "H2OGPT_")
FOREIGN_NAMES = {"INFERENCE_SERVER", "BASE_MODEL", "REQUEST_TIMEOUT", "PYTHONASYNCIODEBUG"}
FOREIGN_NAMES |= {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


class BenchmarkError(Exception):
    """The benchmark cannot go on; its text is for a person."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `pid` is None for `direct`, where nothing stands in between."""

    url: str
    pid: int | None = None
    cold: float | None = None
    """Seconds from the start of the process to the end of its first completion."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A row of the results: `command` makes the arguments from a free port and the upstream."""

    name: str
    about: str
    command: Callable[[int, str], list[str]] | None = None


def _reference(port: int, upstream: str) -> list[str]:
    arguments = ["--port", str(port), "--upstream", upstream]
    return [sys.executable, "-m", "benchmarks.reference_relay", *arguments]


def _h2o(port: int, upstream: str) -> list[str]:
    command = Path(sys.executable).with_name("h2o")
    return [str(command), "run", "--no-ui", "--openai_port", str(port), f"vllm_chat:{upstream}/v1"]


GATEWAYS = {
    each.name: each
    for each in (
        Gateway("direct", "no relay in between"),
        Gateway("reference", "bare ASGI relay on uvicorn, no features", _reference),
        Gateway("h2o", "h2o relay with its defaults", _h2o),
    )
}


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change a relay's settings."""
    return {
        name: value
        for name, value in environment().items()
        if name.upper() not in FOREIGN_NAMES and not name.startswith(FOREIGN)
    }


@contextmanager
def upstream(core: set[int] | None) -> Iterator[str]:
    """The scripted upstream's base URL, while it runs."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    with started(command, port, core) as running:
        yield running.url


@contextmanager
def gateway(row: Gateway, upstream: str, core: int | None) -> Iterator[Running]:
    """One relay in front of the upstream, once it answers."""
    if row.command is None:
        yield Running(upstream)
        return
    port = free_port()
    with started(row.command(port, upstream), port, None if core is None else {core}) as running:
        yield running


@contextmanager
def started(command: list[str], port: int, cores: set[int] | None) -> Iterator[Running]:
    """A server process; stopped, and killed if that does not help, on leaving.

    Raises BenchmarkError, with the end of the process's output, if it does not begin to answer.
    """
    with tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=clean_environment(),
        )  # fmt: skip
        try:
            if cores is not None:
                os.sched_setaffinity(process.pid, cores)
            url = f"http://127.0.0.1:{port}"
            if not _answers(url, process, begun + START):
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - LOG_TAIL))
                tail = log.read().decode(errors="replace")
                raise BenchmarkError(f"{' '.join(command)}\ndoes not answer:\n{tail}")
            yield Running(url, process.pid, time.monotonic() - begun)
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(url: str, process: subprocess.Popen[bytes], until: float) -> bool:
    """Waits for a first whole completion."""
    request = wire.Script(1, 0, stream=False)
    while time.monotonic() < until and process.poll() is None:
        if _complete(url, request):
            return True
        time.sleep(0.01)
    return False


def _complete(url: str, script: wire.Script) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START)
    body = script.request("").partition(b"\r\n\r\n")[2]
    try:
        connection.request("POST", wire.PATH, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status == 200 and wire.ANSWER.encode() in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def memory(running: Running) -> cpu.Memory | None:
    """A relay's memory, where there is one and it can be read."""
    return cpu.memory(running.pid) if running.pid and cpu.supported() else None
