"""What an Ollama server has, what of it is in memory, and putting it there.

Routes of Ollama's docs/openapi.yaml: `/api/tags`, `/api/show` and `/api/ps`; models are loaded and
unloaded by an empty `/api/generate` (docs/api.md, "Load a model" and "Unload a model").
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import UpstreamBadResponse, UpstreamRejected
from h2o_relay.http import HttpClient
from h2o_relay.types import Getter, Identified, Kind, Load, Model, Server

from .address import found
from .exchange import document
from .failures import nonsense
from .lines import decoded

AT_ONCE = 4  # models that are asked about at the same time
RANK = 50
GREETING = b"Ollama is running"
GENERATES: frozenset[Kind] = frozenset({"chat", "text"})
SHOWN = ("capabilities", "details", "model_info", "parameters", "template", "thinking")
"""Fields of /api/show that a model's entry keeps; the licence alone may be longer than they."""
NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)
log = logging.getLogger(__name__)


async def list_models(server: Server, client: HttpClient) -> list[Model]:
    """Every model of `/api/tags` with what `/api/show` says of it."""
    entries = _models(await document(server, client, "GET", "/api/tags"))
    named = [entry for entry in entries if _name(entry)]
    room = asyncio.Semaphore(AT_ONCE)

    async def described(entry: Mapping[str, Any]) -> Model:
        async with room:
            return model_of(entry, await _show(server, client, _name(entry)))

    asked = [asyncio.ensure_future(described(entry)) for entry in named]
    try:
        return list(await asyncio.gather(*asked))
    finally:
        for task in asked:
            task.cancel()


def model_of(entry: Mapping[str, Any], shown: Mapping[str, Any]) -> Model:
    """A model from its entry in the list and its description.

    A model that can complete text has both APIs; one that only embeds has none of the two. Its
    context is what its Modelfile sets, else what it was trained for: Ollama's own default for
    requests that do not say `num_ctx` may be less, and it tells nobody.
    """
    abilities = shown.get("capabilities")
    kinds = None
    if isinstance(abilities, list) and abilities:
        kinds = GENERATES if "completion" in abilities else frozenset[Kind]()
    kept = {name: shown[name] for name in SHOWN if shown.get(name) is not None}
    return Model(id=_name(entry), max_context=_context(shown), kinds=kinds, raw={**entry, **kept})


async def load(server: Server, client: HttpClient) -> Load:
    """Which models are in memory (`/api/ps`): Ollama does not say how many requests run."""
    entries = _models(await document(server, client, "GET", "/api/ps"))
    return Load(loaded=frozenset(map(_name, entries)))


async def set_loaded(server: Server, client: HttpClient, model: str, on: bool) -> None:
    """Load a model until it is told to go, or unload it. Raises the error that fits."""
    body = {"model": model, "keep_alive": -1 if on else 0, "stream": False}
    try:
        await document(server, client, "POST", "/api/generate", body, patient=True)
    except UpstreamRejected as error:
        if not on or error.status != 400:
            raise
        # A model that only embeds does not support generate, and is loaded by embedding nothing.
        body = {"model": model, "keep_alive": -1, "input": ""}
        await document(server, client, "POST", "/api/embed", body, patient=True)


async def identify(server: Server, get: Getter) -> Identified | None:
    """Ollama greets at its root. Behind something else that answers there, its version and its
    list of models tell it, together.
    """
    status, _, body = await get("/")
    if status == 200 and body.strip().startswith(GREETING):
        return Identified(server=found(server), rank=RANK)
    for route, field, kind in (("/api/version", "version", str), ("/api/tags", "models", list)):
        status, _, body = await get(route)
        if status != 200 or not isinstance(decoded(body).get(field), kind):
            return None
    return Identified(server=found(server), rank=RANK)


async def _show(server: Server, client: HttpClient, name: str) -> dict[str, Any]:
    """`/api/show` of one model; nothing if Ollama cannot describe just this one."""
    try:
        return await document(server, client, "POST", "/api/show", {"model": name})
    except (UpstreamRejected, UpstreamBadResponse) as error:
        log.info("%s does not describe %s: %s", server.shown, name, error.message)
        return {}


def _models(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    models = said.get("models")
    if models is None and "models" in said:
        return []  # Go's empty list
    if not isinstance(models, list):
        raise nonsense("sent a list of models that is none")
    return [entry for entry in models if isinstance(entry, Mapping)]


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("name") or entry.get("model")
    return name if isinstance(name, str) else ""


def _context(shown: Mapping[str, Any]) -> int | None:
    """Tokens: `num_ctx` of the Modelfile, but not more than `<architecture>.context_length`."""
    info, parameters = shown.get("model_info"), shown.get("parameters")
    limits = []
    if isinstance(info, Mapping):
        trained = info.get(f"{info.get('general.architecture')}.context_length")
        limits += [trained] if type(trained) is int and trained > 0 else []
    match = NUM_CTX.search(parameters) if isinstance(parameters, str) else None
    limits += [int(match[1])] if match and int(match[1]) > 0 else []
    return min(limits, default=None)
