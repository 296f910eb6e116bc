"""A real Redis for a test: started on a port of its own, keeps nothing, and goes with the test.

`make test` installs one from Debian's packages where it may (`install_redis.sh`).
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NAMES = ("redis-server", "valkey-server")
PATIENCE = 15.0  # seconds for it to start


def binary() -> str | None:
    """None where there is none; `MISSING` is the reason to skip."""
    return next(filter(None, map(shutil.which, NAMES)), None)


MISSING = "needs redis-server or valkey-server (Debian: apt install redis-server)"


class RedisServer:
    """Can be stopped, started again (empty), and made to stall."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Raises RuntimeError if it does not come up."""
        name = binary()
        assert name is not None, MISSING
        options = {
            "port": str(self.port), "bind": "127.0.0.1", "save": "", "appendonly": "no",
            "dir": str(self._folder), "logfile": str(self._folder / "redis.log"),
        }  # fmt: skip
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        self._process = subprocess.Popen([name, *words])
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"{name} does not start: {self._folder}/redis.log")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It holds its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
