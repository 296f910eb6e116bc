"""`h2o run` with its page, as somebody starts it for the first time: no data, no settings."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .gateways import BenchmarkError, Launch, free_port, started

PAGE_START = 90.0
"""Seconds that a page may take; importing Gradio takes most of them."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A running `h2o run`. Times are seconds from the start of its process."""

    api: str
    page: str
    api_start: float
    """To the end of the API's first completion."""
    page_start: float
    """To the end of the page's first answer, which is all of its HTML."""


@contextmanager
def upstream() -> Iterator[str]:
    """The scripted server's base URL, while it runs."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.page_upstream", "--port", str(port)]
    with started(Launch(command), port, None) as running:
        yield running.url


@contextmanager
def relay(server: str) -> Iterator[Relay]:
    """A relay in front of the server, once its page answers. Raises BenchmarkError if it does not,
    and says so if the relay has ended where one is raised meanwhile.

    Nothing is pinned to a core: a person's machine has page, relay and browser on the same ones.
    """
    api, page = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).with_name("h2o")), "run", f"--save_dir={folder}",
            f"--openai_port={api}", f"--port={page}", f"vllm_chat:{server}/v1",
        ]  # fmt: skip
        with started(Launch(command), api, None) as running:
            begun = time.monotonic() - (running.cold or 0)
            url = f"http://127.0.0.1:{page}"
            if not _answers(url, begun + PAGE_START):
                raise BenchmarkError(f"the page does not answer: {' '.join(command)}")
            start = time.monotonic() - begun
            try:
                yield Relay(running.url, url, running.cold or 0, start)
            except BenchmarkError as error:
                if running.pid is None or (status := ended(running.pid)) is None:
                    raise
                raise BenchmarkError(f"h2o run ended by itself ({status}): {error}") from error


def ended(pid: int) -> int | None:
    """The exit status or signal of a child that has ended, which can be waited for after this,
    too; None while it runs.
    """
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if found is None else found.si_status


def _answers(url: str, until: float) -> bool:
    """Waits for the page, whole."""
    while time.monotonic() < until:
        if _whole(url):
            return True
        time.sleep(0.02)
    return False


def _whole(url: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PAGE_START)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == 200 and b"gradio" in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
