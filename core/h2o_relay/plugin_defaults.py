"""What the kernel does for the hooks that a plugin leaves out, apart from OpenAI's shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .types import Capabilities, Load, Model, Progress, Request, Server


async def _no_models(server: Server, client: Any) -> list[Model]:
    return []


async def _no_load(server: Server, client: Any) -> Load:
    return Load()


async def _no_count(server: Server, client: Any, request: Request) -> int | None:
    return None


async def _nothing_to_fetch(server: Server, progress: Progress) -> Path | None:
    return None


DEFAULTS: dict[str, Any] = {
    "list_models": _no_models,
    "fix_text": lambda server, request, text, final: text,
    "capabilities": lambda server: Capabilities(),
    "target": lambda server, call: None,
    "connect": None,
    "identify": None,
    "load": _no_load,
    "count_tokens": _no_count,
    "set_loaded": None,
    "fetch": _nothing_to_fetch,
}
