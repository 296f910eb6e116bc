"""Model files from Hugging Face's hub, or from the mirror of it that HF_ENDPOINT names.

The hub's own library does the work, in a process of its own (`hub_child`): it blocks, takes long
to import, and a download of its can be ended in no other way.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import orjson

from h2o_relay import settings
from h2o_relay.errors import (
    InvalidRequest,
    RelayError,
    UpstreamBadResponse,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from h2o_relay.types import Progress

from .store import problem

PART = re.compile(r"-00001-of-(\d{5})(?=\.gguf$)")
LINE_LIMIT = 2**16  # bytes
KINDS: dict[str, type[RelayError]] = {
    "refused": InvalidRequest,
    "unreachable": UpstreamUnreachable,
    "disk": UpstreamUnavailable,
}


async def fetch(place: str, path: Path, progress: Progress) -> Path:
    """Download `OWNER/REPO/FILE` to `path`, and the other parts of a model that has parts.

    Raises InvalidRequest for what is not there or not allowed, UpstreamUnreachable,
    UpstreamUnavailable for the disk, UpstreamBadResponse for a file that is no GGUF. An
    interrupted download is taken up again by the next one; two at a time wait for each other.
    """
    owner, repo, file = place.split("/", 2)
    folder = path.parents[file.count("/")]
    for name in parts(file):
        await _download(f"{owner}/{repo}", name, folder, progress)
        what = await asyncio.to_thread(problem, folder / name)
        if what is not None:
            await asyncio.to_thread((folder / name).unlink, missing_ok=True)
            raise UpstreamBadResponse(f"{owner}/{repo}/{name} {what}")
    return path


def parts(file: str) -> list[str]:
    """The files of a model whose first (or only) file this is."""
    match = PART.search(file)
    if match is None:
        return [file]
    count = int(match[1])
    return [PART.sub(f"-{n:05d}-of-{count:05d}", file) for n in range(1, count + 1)]


def complete(path: Path) -> bool:
    """Whether all parts of a model are here."""
    return all((path.parent / name).exists() for name in parts(path.name))


async def _download(repo: str, file: str, folder: Path, progress: Progress) -> None:
    argv = [sys.executable, "-P", "-m", "h2o_relay_llama_cpp.hub_child", repo, file, str(folder)]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LINE_LIMIT,
        env=settings.environment(),
    )
    last: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            last = _read(line, last)
            if "done" in last:
                progress(last["done"], last["total"], f"downloading {file}")
    finally:
        if process.returncode is None and "ok" not in last and "error" not in last:
            process.kill()
        await process.communicate()
    if "ok" not in last:
        kind = KINDS.get(last.get("error", ""), UpstreamUnreachable)
        reason = last.get("message", "the download ended without a reason")
        raise kind(f"{repo}/{file} could not be downloaded: {reason}")


def _read(line: bytes, last: dict[str, Any]) -> dict[str, Any]:
    """A line of `hub_child`; what is none is kept as the likely reason of a failure."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict):
        return said
    if "ok" in last or "error" in last:
        return last
    return {"message": line.decode("utf-8", "replace").strip()[:300]}
