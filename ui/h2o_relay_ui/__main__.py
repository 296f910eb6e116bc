"""`python -m h2o_relay_ui HOST PORT API_URL`: the chat page until it is told to stop.

The first line of standard input is JSON: `key`, which the API's /admin takes, and the relay's
`settings`. The end of standard input ends the process, so that it does not outlive the relay that
started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace

import orjson

from h2o_relay import settings
from h2o_relay.engines import exit_with_parent

USAGE = "usage: python -m h2o_relay_ui HOST PORT API_URL, with its settings on standard input"
GRACE = 1  # seconds for open pages when the process is stopped


def main(argv: list[str]) -> int:
    if len(argv) != 3 or not argv[1].isdecimal():
        print(USAGE, file=sys.stderr)
        return 2
    host, port, api = argv[0], int(argv[1]), argv[2]
    told = orjson.loads(first_line(0) or b"{}")
    own = replace(settings.Settings(**told.get("settings", {})), host=host, port=port)
    threading.Thread(target=end_with_input, args=(0,), daemon=True).start()
    exit_with_parent()
    serve(own, api, told.get("key"))
    return 0


def first_line(stream: int) -> bytes:
    """The first line of a file descriptor, not a byte more."""
    line = b""
    while (byte := os.read(stream, 1)) not in (b"", b"\n"):
        line += byte
    return line.strip()


def end_with_input(stream: int) -> None:
    """Stop this process when nothing more can come. Blocks until then."""
    while os.read(stream, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve(own: settings.Settings, api: str, key: str | None) -> None:
    import uvicorn

    from .app import create_app

    config = uvicorn.Config(
        create_app(own, api, key),
        host=own.host,
        port=own.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=own.ssl_certfile,
        ssl_keyfile=own.ssl_keyfile,
        ssl_keyfile_password=own.ssl_keyfile_password,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
