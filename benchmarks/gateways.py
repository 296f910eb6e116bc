"""The processes of a benchmark: the upstream, and the relays in front of it, one at a time."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from h2o_relay.settings import environment

from . import cpu, wire

ROOT = Path(__file__).resolve().parents[1]
START, STOP = 60.0, 10.0
LOG_TAIL = 2000
# What could make a run differ from the defaults that it claims to measure.
FOREIGN = ("H2O_", "H2OGPT_", "LITELLM_", "OPENAI_")
FOREIGN_NAMES = {"INFERENCE_SERVER", "BASE_MODEL", "REQUEST_TIMEOUT", "PYTHONASYNCIODEBUG"}
FOREIGN_NAMES |= {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


class BenchmarkError(Exception):
    """The benchmark cannot go on; its text is for a person."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `pid` is None where nothing stands in between whose cost counts."""

    url: str
    pid: int | None = None
    cold: float | None = None
    """Seconds from the start of the process to the end of its first completion."""
    key: str = wire.NO_KEY


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is to run. `folder` is its own, empty, and gone afterwards."""

    port: int
    upstream: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """How a gateway is started, and the key that it wants to see."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    key: str = wire.NO_KEY


@dataclass(frozen=True, slots=True)
class Gateway:
    """A row of the results. `launch` also prepares what is needed; it may raise BenchmarkError."""

    name: str
    about: str
    launch: Callable[[Place], Launch] | None = None
    counted: bool = True
    """Whether its CPU time, memory and start are figures: not where it only stands for the load."""


def _reference(place: Place) -> Launch:
    arguments = ["--port", str(place.port), "--upstream", place.upstream]
    return Launch([sys.executable, "-m", "benchmarks.reference_relay", *arguments])


def h2o(place: Place, *more: str, server: str = "vllm_chat:{}/v1") -> Launch:
    """The relay with its defaults, except that it must not touch anybody's data."""
    options = ["--no-ui", "--openai_port", str(place.port), "--save_dir", str(place.folder)]
    command = [str(h2o_command()), "run", *options, *more]
    return Launch([*command, server.format(place.upstream)])


def h2o_command() -> Path:
    return Path(sys.executable).with_name("h2o")


GATEWAYS = {
    each.name: each
    for each in (
        Gateway("direct", "no relay in between"),
        Gateway("reference", "bare ASGI relay on uvicorn, no features", _reference),
        Gateway("h2o", "h2o relay with its defaults", h2o),
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
    with started(Launch(upstream_command(port)), port, core) as running:
        yield running.url


def upstream_command(port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]


@contextmanager
def gateway(row: Gateway, upstream: str, core: int | None) -> Iterator[Running]:
    """One relay in front of the upstream, once it answers."""
    if row.launch is None:
        yield Running(upstream)
        return
    with tempfile.TemporaryDirectory(prefix="h2o-benchmark-") as folder:
        place = Place(free_port(), upstream, Path(folder))
        cores = None if core is None else {core}
        with started(row.launch(place), place.port, cores) as running:
            yield running if row.counted else Running(running.url)


@contextmanager
def started(launch: Launch, port: int, cores: set[int] | None) -> Iterator[Running]:
    """A server process; stopped, and killed if that does not help, on leaving.

    Raises BenchmarkError, with the end of the process's output, if it does not begin to answer.
    """
    with tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        with on(cores):
            process = subprocess.Popen(
                launch.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_environment() | launch.environment,
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            if not _answers(url, launch.key, process, begun + START):
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - LOG_TAIL))
                tail = log.read().decode(errors="replace")
                raise BenchmarkError(f"{' '.join(launch.command)}\ndoes not answer:\n{tail}")
            yield Running(url, process.pid, time.monotonic() - begun, launch.key)
        finally:
            stop(process)


@contextmanager
def on(cores: set[int] | None) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores, with all their threads and children;
    None: on any.
    """
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and everything below it."""
    below = cpu.tree(process.pid)[1:] if cpu.supported() and process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(url: str, key: str, process: subprocess.Popen[bytes], until: float) -> bool:
    """Waits for a first whole completion."""
    request = wire.Script(1, 0, stream=False)
    while time.monotonic() < until and process.poll() is None:
        if _complete(url, request, key):
            return True
        time.sleep(0.01)
    return False


def _complete(url: str, script: wire.Script, key: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START)
    body = script.request("").partition(b"\r\n\r\n")[2]
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        connection.request("POST", wire.PATH, body, headers)
        answer = connection.getresponse()
        return answer.status == 200 and wire.ANSWER.encode() in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def memory(running: Running) -> cpu.Memory | None:
    """A relay's memory, where there is one and it can be read."""
    return cpu.memory(running.pid) if running.pid and cpu.supported() else None
