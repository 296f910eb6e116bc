"""Opening a `vllm:local:` server: vLLM's own command in an environment of its own, as a child.

The arguments are those of `vllm serve` and of `python -m vllm.entrypoints.openai.api_server`, which
starts the same server and is there too where the command is not (see vLLM's "OpenAI-Compatible
Server" and its `serve` reference).
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from h2o_relay import engines, settings
from h2o_relay.errors import BadServerString, UpstreamUnavailable
from h2o_relay.keeper import kept
from h2o_relay.types import Endpoint, Server

from . import causes
from .local import OPTION, is_folder

COMMAND, PYTHON, ARGS, START = "command", "python", "args", "start_limit"
MODULE = "vllm.entrypoints.openai.api_server"
START_LIMIT = 1800.0  # seconds; the weights of a large model may have to come over the network
STOP_LIMIT = 10.0  # seconds; a real one takes less than one
MAKE_ONE = (
    "python3 -m venv vllm-venv && vllm-venv/bin/pip install vllm, "
    "then set H2O_VLLM_COMMAND=$PWD/vllm-venv/bin/vllm"
)
CLEARED = ("PYTHONHOME", "PYTHONPATH")
"""They would bring our own packages into vLLM's environment; empty is as good as unset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How vLLM is started, from `Server.options`: texts, as the environment has them."""

    model: str
    """A name on the hub, or an absolute path."""
    command: tuple[str, ...] = ()
    """vLLM's command: the path of `vllm`, or words that end in it."""
    python: str | None = None
    """In place of `command`: the interpreter that has vLLM."""
    args: tuple[str, ...] = ()
    """More arguments of `vllm serve`."""
    max_seq_len: int | None = None
    """Tokens of context; None leaves it to `args` and to the model."""
    start_limit: float = START_LIMIT
    """Seconds until it must answer."""

    @classmethod
    def of(cls, server: Server) -> Options:
        """Raises BadServerString: no vLLM, no model, or an option that cannot be read."""
        given = {name: str(value).strip() for name, value in server.options.items()}
        command, python = _words(server, given, COMMAND), given.get(PYTHON) or None
        if command and python:
            raise _refusal(server, "set H2O_VLLM_COMMAND or H2O_VLLM_PYTHON, not both")
        if python:
            python = _program(server, python, PYTHON)
        elif command:
            command = (_program(server, command[0], COMMAND), *command[1:])
        else:
            raise _refusal(server, f"no vLLM is set up to run it; make one: {MAKE_ONE}")
        return cls(
            model=_model(server, given[OPTION]),
            command=command, python=python, args=_words(server, given, ARGS),
            max_seq_len=server.max_seq_len, start_limit=_seconds(server, given.get(START)),
        )  # fmt: skip

    def argv(self, name: str, port: int) -> list[str]:
        """The command line that serves the model as `name`."""
        if self.python:
            start = [self.python, "-m", MODULE, "--model", self.model]
        else:
            start = [*self.command, "serve", self.model]
        # Its log would tell of every request, and have nothing else in it when it is needed.
        start += ["--served-model-name", name, "--disable-uvicorn-access-log"]
        start += self.args
        # The last ones hold: ARGS is for every vLLM, a context was set for this one, and the
        # relay looks for it at this port.
        if self.max_seq_len is not None:
            start += ["--max-model-len", str(self.max_seq_len)]
        return [*start, "--host", engines.HOST, "--port", str(port)]

    def env(self, key: str) -> dict[str, str]:
        """What is different in its environment."""
        changes = dict.fromkeys(CLEARED, "")
        # In the environment, which other users cannot read, unlike a command line.
        changes["VLLM_API_KEY"] = key
        if self.python:
            changes["PYTHONSAFEPATH"] = "1"  # a folder called vllm here must not shadow it
        program = self.python or (self.command[0] if len(self.command) == 1 else None)
        if program:
            # What vLLM starts itself, such as ninja, is beside its interpreter.
            path = settings.environment().get("PATH")
            changes["PATH"] = os.pathsep.join(filter(None, (os.path.dirname(program), path)))
        return changes


def _words(server: Server, given: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(given.get(name, "")))
    except ValueError as error:
        raise _refusal(server, f"{_variable(name)} cannot be read: {error}") from None


def _program(server: Server, name: str, option: str) -> str:
    """The absolute path of a program; links are kept, for a venv's Python is one."""
    found = shutil.which(os.path.expanduser(name))
    if found is None:
        what = f"{_variable(option)} is {name!r}, and there is no such program"
        raise _refusal(server, f"{what}; make one: {MAKE_ONE}")
    return os.path.abspath(found)


def _model(server: Server, model: str) -> str:
    """A folder's absolute path; a name on the hub as it is."""
    if not is_folder(model):
        return model
    try:
        path = Path(model).expanduser().absolute()
    except RuntimeError as error:  # ~nobody
        raise _refusal(server, str(error)) from error
    if not path.exists():
        raise _refusal(server, f"there is no {path}")
    return str(path)


def _seconds(server: Server, text: str | None) -> float:
    if not text:
        return START_LIMIT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise _refusal(server, f"{_variable(START)} is {text!r}, and no number of seconds")
    return seconds


def _variable(option: str) -> str:
    return f"H2O_VLLM_{option.upper()}"


def _refusal(server: Server, reason: str) -> BadServerString:
    return BadServerString(reason, shown=server.shown)


def spec(server: Server, options: Options, key: str) -> engines.EngineSpec:
    """What is run for a server."""
    name = server.model or options.model

    def argv(port: int) -> Sequence[str]:
        return kept(options.argv(name, port), STOP_LIMIT)

    return engines.EngineSpec(
        name=f"vLLM with {name}", argv=argv, env=options.env(key), words=causes.last_words,
        start_limit=options.start_limit, stop_limit=STOP_LIMIT,
    )  # fmt: skip


@asynccontextmanager
async def serve(server: Server) -> AsyncIterator[Endpoint]:
    """Run vLLM for a server.

    Raises UpstreamUnavailable, with the end of its log if it was started.
    """
    try:
        options = Options.of(server)
    except BadServerString as error:
        raise UpstreamUnavailable(error.message) from error
    key = secrets.token_urlsafe(32)
    async with engines.running(spec(server, options, key)) as engine:
        yield Endpoint(url=engine.url, headers={"authorization": f"Bearer {key}"})
