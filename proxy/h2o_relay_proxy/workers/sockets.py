"""One port for several processes.

On Linux each worker has a listening socket of its own (SO_REUSEPORT, socket(7)): the system deals
connections out evenly. From a socket that all share, whoever wakes first takes a whole burst: of 64
connections opened at once four processes on uvloop had 1, 2, 61 and 0. The coordinator keeps the
sockets open, so that the connections that wait for a worker that has died are its successor's.
Other systems do not deal out (macOS gives all to the last one): there the workers share one.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence

from h2o_relay.settings import SettingError, Settings

from ..ports import LOOPBACK, api_socket, bind

DEALS_OUT = sys.platform == "linux"


@contextlib.contextmanager
def worker_sockets(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    """A listening socket for each worker inside the block, the same one or its own. Raises
    SettingError.
    """
    made = [api_socket(settings)]
    try:
        if DEALS_OUT:
            # Bound alone first: else another relay's sockets could have the port as well.
            with made.pop() as alone:
                port = alone.getsockname()[1]
            host = settings.host if settings.serves_api else LOOPBACK
            made += _dealt(host, port, settings.workers)
        yield made if DEALS_OUT else made * settings.workers
    finally:
        for each in made:
            each.close()


def _dealt(host: str, port: int, count: int) -> Iterator[socket.socket]:
    try:
        for _ in range(count):
            yield bind(host, port, several=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"cannot listen on {host} port {port} {count} times: {reason}") from None
