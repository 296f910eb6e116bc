"""Runs a program that does not look at its standard input, and ends it with the relay.

    python -m h2o_relay.keeper SECONDS PROGRAM ARGUMENT...

An engine must exit when the relay is gone, even if that was killed (see `EngineSpec`). This process
stands between: it leads the process group that the program is in, ends when the program does, and
stops the whole group when its standard input ends: by SIGTERM, and by SIGKILL after SECONDS. A
SIGTERM of its own it leaves to the program, which gets it too, for the relay signals the group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

NOT_STARTED = 127  # the exit status that shells give a command they cannot run


def kept(argv: Sequence[str], limit: float) -> list[str]:
    """The command line that runs `argv` under a keeper; `limit` is `EngineSpec.stop_limit`."""
    # -P: modules of the working directory must not shadow ours.
    return [sys.executable, "-P", "-m", "h2o_relay.keeper", str(limit), *argv]


def keep(argv: Sequence[str], limit: float) -> int:
    """Run a program to its end; returns the exit status to end with.

    A program that a signal ended gives 128 and the signal's number, as in shells.
    """
    if sys.platform != "win32" and os.getpgrp() != os.getpid():
        os.setpgrp()  # started by hand, its group has others in it
    # A handler, not SIG_IGN, which the program would inherit.
    signal.signal(signal.SIGTERM, _leave_it_to_the_program)
    try:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror or error}", file=sys.stderr)
        return NOT_STARTED
    gone = threading.Event()
    threading.Thread(target=_stop_with_the_relay, args=(program, gone, limit), daemon=True).start()
    status = program.wait()
    if gone.is_set():
        _signal(program, kill=True)  # what the program has left behind, and this process
    if status < 0:
        print(f"{argv[0]} was ended by signal {-status}", file=sys.stderr)
        return 128 - status
    return status


def _leave_it_to_the_program(number: int, frame: FrameType | None) -> None:
    """Its end is the keeper's."""


def _stop_with_the_relay(
    program: subprocess.Popen[bytes], gone: threading.Event, limit: float
) -> None:
    while os.read(0, 4096):
        pass
    gone.set()
    _signal(program)
    try:
        program.wait(limit)
    except subprocess.TimeoutExpired:
        _signal(program, kill=True)


def _signal(program: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """Signal the whole group, or the program where there are none."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL if kill else signal.SIGTERM)
    elif program.poll() is None:
        program.terminate()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[2:], float(sys.argv[1])))
