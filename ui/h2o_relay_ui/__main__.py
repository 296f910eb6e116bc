"""`python -m h2o_relay_ui HOST PORT API_URL`: the chat page until it is told to stop.

The API's key is the first line of standard input, empty if there is none. The end of standard
input ends the process, so that it does not outlive the relay that started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from h2o_relay import settings
from h2o_relay.engines import exit_with_parent
from h2o_relay.hosts import is_loopback

USAGE = "usage: python -m h2o_relay_ui HOST PORT API_URL, with the API's key on standard input"
GRACE = 1  # seconds for open pages when the process is stopped


def main(argv: list[str]) -> int:
    if len(argv) != 3 or not argv[1].isdecimal():
        print(USAGE, file=sys.stderr)
        return 2
    host, port, api = argv[0], int(argv[1]), argv[2]
    key = first_line(0)
    threading.Thread(target=end_with_input, args=(0,), daemon=True).start()
    exit_with_parent()
    serve(host, port, api, key)
    return 0


def first_line(stream: int) -> str | None:
    """The first line of a file descriptor, not a byte more; None if it is empty."""
    line = b""
    while (byte := os.read(stream, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode().strip() or None


def end_with_input(stream: int) -> None:
    """Stop this process when nothing more can come. Blocks until then."""
    while os.read(stream, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve(host: str, port: int, api: str, key: str | None) -> None:
    import uvicorn

    from .app import create_app
    from .relay import open_kernel

    local = is_loopback(host)
    kernel = open_kernel(api, key, settings.load({}))
    config = uvicorn.Config(
        create_app(kernel, local=local, key=key),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
