"""The relay that the tests here run: every part of it on, its books in the test's folder."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..e2e.fleet_kit import ADMIN, Relay, entry, serving
from ..proxy.kit import get, post
from ..proxy.raw_client import Reply
from .callers import Watched
from .mix import BENCH, GONE, OK

KEY = "sk-endurance-canary-51d0"
AUTH = {"Authorization": f"Bearer {ADMIN}"}


def configured(folder: Path, url: str, **settings: Any) -> dict[str, Any]:
    """What h2o.yaml says: the mix's models at `url`, and the log in the folder."""
    models = [entry(name, url, model) for name, model in BENCH.items()]
    models.append(entry(GONE, f"http://127.0.0.1:{unused()}", "m"))
    said = {"api_key": KEY, "request_log": str(folder / "requests.log"), **settings}
    return {"settings": said, "models": models}


def unused() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def add(running: Relay, bench: Watched, name: str) -> Reply:
    server = f"vllm_chat:{bench.url}/v1"
    body = {"inference_server": server, "base_model": OK, "display_name": name}
    return await running.send(post(body, "/admin/deployments", AUTH))


async def make_key(running: Relay) -> Reply:
    return await running.send(post({"name": f"key-{time.monotonic_ns()}"}, "/admin/keys", AUTH))


async def names(running: Relay, key: str = KEY) -> set[str]:
    reply = await running.send(get("/v1/models", Authorization=f"Bearer {key}"))
    return {entry["id"] for entry in reply.json()["data"]} if reply.status == 200 else set()


async def listed(running: Relay, wanted: Sequence[str], key: str = KEY) -> None:
    """Deployments are restored beside the answers."""
    deadline = time.monotonic() + 20
    while missing := set(wanted) - await names(running, key):
        assert time.monotonic() < deadline, (missing, running.output)
        await asyncio.sleep(0.1)


__all__ = ["AUTH", "KEY", "add", "configured", "listed", "make_key", "names", "serving", "unused"]
