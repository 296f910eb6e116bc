"""Opening a server: its model file, its options, its process."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from h2o_relay import engines
from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Endpoint, Server

from . import store

START_LIMIT = 600.0  # seconds; large models on slow disks
LARGEST = 2**20
SOURCES = {"path", "hf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The engine's options, from `Server.options`: whole numbers, or texts of them. A context that
    the operator set for the model (`Server.max_seq_len`) wins over `ctx`."""

    threads: int | None = None
    """Threads that compute; None is `cpus.default_threads()`."""
    ctx: int = 4096
    """Context of each slot in tokens, as far as the model's own reaches."""
    slots: int = 4
    """Requests that are answered at the same time; more wait. Four callers share about 1.4 times
    the tokens per second of one; each slot costs memory for `ctx` tokens."""

    @classmethod
    def of(cls, server: Server) -> Options:
        """Raises InvalidRequest for an option that is unknown or out of range."""
        names = [item.name for item in fields(cls)]
        given = {name: v for name, v in server.options.items() if name not in SOURCES}
        for name, value in given.items():
            if name not in names:
                known = ", ".join(names)
                raise InvalidRequest(f"llama_cpp has no option {name!r}; it has {known}")
            given[name] = _whole(name, value)
        if server.max_seq_len is not None:
            given["ctx"] = _whole("ctx", server.max_seq_len)
        return cls(**given)


def _whole(name: str, value: Any) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST):
        raise InvalidRequest(
            f"option {name} of llama_cpp must be a whole number from 1 to {LARGEST}, not {value!r}"
        )
    return int(text)


def command(path: Path, name: str, options: Options, port: int) -> list[str]:
    """The child's command line; its key comes on standard input."""
    # -P: modules of the working directory must not shadow ours.
    argv = [sys.executable, "-P", "-m", "h2o_relay_llama_cpp.server"]
    argv += ["--model", str(path), "--alias", name, "--port", str(port)]
    argv += ["--ctx", str(options.ctx), "--slots", str(options.slots)]
    if options.threads is not None:
        argv += ["--threads", str(options.threads)]
    return argv


@asynccontextmanager
async def serve(server: Server) -> AsyncIterator[Endpoint]:
    """Run the engine of a server.

    Raises UpstreamUnavailable if the model file is missing, broken or cannot be served, and
    InvalidRequest for a wrong option.
    """
    options = Options.of(server)
    path = await asyncio.to_thread(store.locate, server)
    name = server.model or path.stem
    key = secrets.token_urlsafe(32)
    spec = engines.EngineSpec(
        name=f"llama.cpp with {name}",
        argv=lambda port: command(path, name, options, port),
        stdin=key.encode() + b"\n",
        start_limit=START_LIMIT,
    )
    async with engines.running(spec) as engine:
        yield Endpoint(url=engine.url, headers={"authorization": f"Bearer {key}"})
