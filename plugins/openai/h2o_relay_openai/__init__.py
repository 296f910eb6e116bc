"""OpenAI, Groq, and any server that speaks OpenAI's API, as `openai`, `openai_chat` and `groq`.

Routes and bodies are those of OpenAI's API reference, so the kernel carries the bytes; what newer
models add to them needs nothing here.
"""

from __future__ import annotations

from typing import Any

from h2o_relay import openai_shape
from h2o_relay.errors import UpstreamBadResponse, error_object
from h2o_relay.hookspecs import hookimpl, steady
from h2o_relay.types import Call, Capabilities, Getter, Identified, Model, Server, Target

from . import models, paths, strings

DEFAULT_URL = "https://api.openai.com/v1"
RANK = 10
OPENAI = Capabilities(paths=paths.OPENAI, stops=4, keeps_responses=True)
GROQ = Capabilities(kinds=frozenset({"chat"}), paths=paths.GROQ)
ANY = Capabilities(paths=paths.ANY)


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return strings.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    """Groq has no /completions; OpenAI itself takes four stop strings, others more."""
    return {"openai": OPENAI, "groq": GROQ}.get(whose(server), ANY)


@hookimpl
@steady
def target(server: Server, call: Call) -> Target | None:
    if call.path in paths.foreign(whose(server)):
        return None
    base = base_url(server)
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method,
        url=f"{base}{call.path}{query}",
        headers={**call.headers, **authorization(server), **server.headers},
        body=call.body,
    )


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    found = await openai_shape.list_models(target, server, client)
    return [models.known(m) for m in found] if models.is_openai(base_url(server)) else found


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    """Any server that lists models where OpenAI does, below /v1 or right below the URL, or that
    refuses to without a key in the words of an API.
    """
    for path in ("/v1", ""):
        status, _, body = await get(f"{path}/models")
        if (status == 200 and lists_models(body)) or (
            status in (401, 403) and error_object(body).get("message")
        ):
            return Identified(server=found(server, "openai", path), rank=RANK)
    return None


def lists_models(body: bytes) -> bool:
    """Whether it is OpenAI's list of models, which may be empty."""
    try:
        models = openai_shape.read_models(body)
    except UpstreamBadResponse:
        return False
    return bool(models) or b'"list"' in body


def whose(server: Server) -> str:
    """`openai`, `groq`, or nothing for servers of others."""
    if server.vendor == "groq":
        return "groq"
    return "openai" if models.is_openai(base_url(server)) else ""


def base_url(server: Server) -> str:
    return (server.url or DEFAULT_URL).rstrip("/")


def authorization(server: Server) -> dict[str, str]:
    """The headers that say who asks: the key, and on whose behalf, if there is anything to say."""
    headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
    if server.vendor is None:
        for option in ("organization", "project"):
            if server.options.get(option):
                headers[f"openai-{option}"] = str(server.options[option])
    return headers


def found(server: Server, plugin: str, path: str) -> Server:
    """The server at a bare URL, now that its kind and its API's path are known."""
    return Server(
        plugin=plugin,
        url=(server.url or "").rstrip("/").removesuffix("/v1") + path,
        api="chat",
        key=server.password,
        headers=server.headers,
        shown=server.shown,
    )
