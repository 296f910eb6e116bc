"""Where an Ollama server is: its server strings, its root URL and the headers it is sent.

`ollama`, or `ollama:HOST[:PORT[:PATH[:KEY]]]` with h2oGPT's rules for the fields of `vllm:`. What a
string names is the server's root, to which the native routes are relative, so a `/v1` at its end
is left away. A host without a scheme gets Ollama's own port where none is written.
"""

from __future__ import annotations

from base64 import b64encode

from h2o_relay.serverstring import host_fields
from h2o_relay.types import Server

PLUGIN = "ollama"
DEFAULT_URL = "http://localhost:11434"
PORT = 11434
EXAMPLE = "ollama:192.168.1.46:11434"
URL_ENV = ("OLLAMA_HOST",)
KEY_ENV = ("OLLAMA_API_KEY",)
VENDOR_HOSTS = ("ollama.com", "www.ollama.com")
"""Only they, and a server whose address is the environment's too, get the key that is there."""
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""OLLAMA_HOST is also what the server binds to; these addresses cannot be dialled everywhere."""


def parse(text: str) -> Server | None:
    """The server that the string names; None if the prefix is not ours. Raises BadServerString."""
    prefix, colon, _ = text.partition(":")
    if prefix.strip() != PLUGIN:
        return None
    if not colon:
        return Server(
            plugin=PLUGIN, api="chat", url_env=URL_ENV, key_env=KEY_ENV, shown=text.strip()
        )
    reader, url, key = host_fields(text, PLUGIN, EXAMPLE)
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    schemed = reader.fields[0].text in ("http", "https")
    if not schemed and not reader.took_port:
        host = f"{host}:{PORT}"
    return Server(
        plugin=PLUGIN,
        url=_root_of(f"{scheme}://{host}/{path}"),
        api="chat",
        key=key,
        key_env=KEY_ENV if host in VENDOR_HOSTS and scheme == "https" else (),
        shown=reader.shown,
    )


def found(server: Server) -> Server:
    """The Ollama server behind a bare URL; the URL's user and password become its header."""
    headers = dict(server.headers)
    if server.password is not None and "authorization" not in headers:
        pair = f"{server.user or ''}:{server.password}".encode()
        headers["authorization"] = f"Basic {b64encode(pair).decode()}"
    return Server(
        plugin=PLUGIN, url=_root_of(server.url or ""), api="chat", headers=headers,
        shown=server.shown,
    )  # fmt: skip


def root(server: Server) -> str:
    """The base of all routes, without a slash at its end.

    The URL may come from OLLAMA_HOST, which Ollama reads with these defaults: http, loopback, and
    port 11434 if there is no scheme (docs/faq of Ollama, "How do I configure Ollama server").
    """
    text = (server.url or "").strip().strip("\"'") or DEFAULT_URL
    scheme, schemed, rest = text.rpartition("://")
    authority, _, path = rest.partition("/")
    if authority.startswith("["):
        host, _, port = authority.partition("]")
        host, port = f"{host}]", port.removeprefix(":")
    elif authority.count(":") > 1:
        host, port = f"[{authority}]", ""
    else:
        host, _, port = authority.partition(":")
    host = LOOPBACK.get(host, host)
    port = port if port or schemed else str(PORT)
    return _root_of(f"{scheme or 'http'}://{host}{f':{port}' if port else ''}/{path}")


def headers(server: Server) -> dict[str, str]:
    """What every request carries."""
    key = {"authorization": f"Bearer {server.key}"} if server.key else {}
    return {"content-type": "application/json", **key, **server.headers}


def _root_of(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
