"""OpenAI, and any server that speaks its API, as `openai` and `openai_chat`.

The fields are h2oGPT's: `openai[_chat][:DEPLOYMENT[:BASE_URL[:API_VERSION[:KEY]]]]`, where
DEPLOYMENT and API_VERSION mean nothing here and may be `None`. Routes and bodies are those of
OpenAI's API reference.
"""

from __future__ import annotations

from h2o_relay.hookspecs import hookimpl
from h2o_relay.serverstring import Reader
from h2o_relay.types import Call, Getter, Identified, Server, Target

PREFIXES = ("openai", "openai_chat")
DEFAULT_URL = "https://api.openai.com/v1"
KEY_ENV = ("OPENAI_API_KEY",)
URL_ENV = ("OPENAI_BASE_URL",)
CHAT_ONLY = ("gpt-3.5-turbo", "gpt-4")
EXAMPLE = "openai_chat:None:https://api.example.com/v1:None:KEY"
RANK = 10


@hookimpl
def parse_server_string(text: str) -> Server | None:
    prefix = text.split(":", 1)[0].strip()
    if prefix not in PREFIXES:
        return None
    reader = Reader(text, prefix, EXAMPLE)
    reader.optional()  # the deployment, which only Azure has
    url = reader.url("https")
    reader.optional()  # the API version, likewise
    key = reader.secret()
    reader.end()
    return Server(
        plugin="openai",
        url=url,
        api="chat" if prefix == "openai_chat" else "text",
        key=key,
        key_env=KEY_ENV,
        url_env=URL_ENV,
        chat_only=CHAT_ONLY,
        shown=reader.shown,
    )


@hookimpl
def target(server: Server, call: Call) -> Target:
    base = (server.url or DEFAULT_URL).rstrip("/")
    query = f"?{call.query}" if call.query else ""
    return Target(
        method=call.method,
        url=f"{base}{call.path}{query}",
        headers={**call.headers, **authorization(server), **server.headers},
        body=call.body,
    )


@hookimpl
async def identify(server: Server, get: Getter) -> Identified | None:
    """Any server that lists models where OpenAI does: below /v1, or right below the URL."""
    for path in ("/v1", ""):
        status, headers, _ = await get(f"{path}/models")
        if status in (200, 401) and headers.get("content-type", "").startswith("application/json"):
            return Identified(server=found(server, "openai", path), rank=RANK)
    return None


def authorization(server: Server) -> dict[str, str]:
    """The header that carries the key, if there is one."""
    return {"authorization": f"Bearer {server.key}"} if server.key else {}


def found(server: Server, plugin: str, path: str) -> Server:
    """The server at a bare URL, now that its kind and its API's path are known."""
    base = (server.url or "").rstrip("/")
    return Server(
        plugin=plugin,
        url=base if base.endswith("/v1") or not path else base + path,
        api="chat",
        key=server.password,
        headers=server.headers,
        shown=server.shown,
    )
