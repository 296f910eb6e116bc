"""One plain request every now and then, to one address after the other, as JSON.

A process of its own, so that what it measures is not its neighbours' work. Short requests of one
person beside many others: the load of `load.py` would be a crowd of its own.
"""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from typing import Self
from urllib.parse import urlsplit

import click

from . import wire
from .load import quantiles

EVERY = 0.02  # seconds from one request to the next
PATIENCE = 30.0
WARM = 10  # requests that do not count
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Caller:
    """One kept-alive connection. `ask` raises OSError where the answer is not what it should be."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self._request = wire.Script(1, 0, stream=False).request(parts.netloc)
        self._socket = socket.create_connection((parts.hostname, parts.port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self) -> float:
        """Seconds from the request's writing to its answer's end."""
        begun = time.monotonic()
        self._socket.sendall(self._request)
        answer = b""
        while not _whole(answer):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(f"{self.url} closed the connection after {answer!r}")
            answer += data
        took = time.monotonic() - begun
        if not answer.startswith(b"HTTP/1.1 200 ") or wire.ANSWER.encode() not in answer:
            raise ConnectionError(f"{self.url} answers {answer[:200]!r}")
        return took


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def measure(urls: list[str], seconds: float) -> list[dict[str, float]]:
    """p50 and p99 of each address, in seconds; raises OSError if one does not answer rightly."""
    times: list[list[float]] = [[] for _ in urls]
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(url)) for url in urls]
        for caller in callers * WARM:
            caller.ask()
        due = time.monotonic()
        stop = due + seconds
        while due < stop:
            time.sleep(max(0.0, due - time.monotonic()))
            for caller, found in zip(callers, times, strict=True):
                found.append(caller.ask())
            due = max(due + EVERY, time.monotonic())
    return [quantiles(found) for found in times]


@click.command()
@click.option("--url", "urls", multiple=True, required=True)
@click.option("--seconds", type=float, required=True)
def main(urls: tuple[str, ...], seconds: float) -> None:
    try:
        click.echo(json.dumps(measure(list(urls), seconds)))
    except OSError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
