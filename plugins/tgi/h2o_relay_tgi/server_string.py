"""Server strings, and what a server needs in every request.

`tgi:HOST[:PORT[:PATH[:KEY]]]` and `tgi:URL[:PORT[:PATH[:KEY]]]` have the fields of `vllm:`, but the
base URL is the server's root: no /v1 is added, and one that is written is taken off. Credentials
may also follow a URL as h2oGPT writes them, `tgi:URL    SCHEME    CREDENTIAL`, or stand in it as
`user:password@`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace

from h2o_relay.errors import BadServerString
from h2o_relay.serverstring import GAP, Reader, host_fields, parse_bare
from h2o_relay.types import Server

PREFIX = "tgi"
EXAMPLE = "tgi:http://192.168.1.46:8080"
CREDENTIALS_EXAMPLE = f"tgi:http://192.168.1.46:8080{GAP}Bearer{GAP}TOKEN"
USERINFO = re.compile(r"\s*tgi\s*:\s*(?P<url>https?://(?P<info>[^/]*)@.*)$")
PORT_FIELD = re.compile(r"[^:]*:(\d+|None):")  # `host:8080:...`, where an @ belongs to the key


def parse(text: str) -> Server | None:
    """The server that a string with our prefix names. Raises BadServerString."""
    if text.split(":", 1)[0].strip() != PREFIX:
        return None
    url, *credentials = text.split(GAP)
    if not credentials:
        return _parse_fields(text)
    if len(credentials) != 2:
        raise _refuse(url, "credentials are two words, each after exactly four spaces")
    scheme, credential = (word.strip() for word in credentials)
    if not scheme or not credential or not (scheme + credential).isascii():
        raise _refuse(url, "a scheme such as Bearer and its credential are ASCII, and not empty")
    server = _parse_fields(url)
    if server.key is not None:
        raise _refuse(url, "there is a key already, so no other credential may follow")
    return replace(
        server,
        user=scheme,
        key=credential,  # never sent as such; what it names is cut out of errors
        headers={"authorization": f"{scheme} {credential}"},
        shown=f"{server.shown}{GAP}{scheme}{GAP}***",
    )


def _parse_fields(text: str) -> Server:
    named = USERINFO.match(text)
    if named is not None and not PORT_FIELD.match(named["info"]):
        bare = parse_bare(named["url"])
        return Server(
            plugin=PREFIX, url=root(bare.url), user=bare.user, password=bare.password,
            key=bare.password or None, shown=f"{PREFIX}:{bare.shown}",
        )  # fmt: skip
    reader, url, key = host_fields(text, PREFIX, EXAMPLE)
    return Server(plugin=PREFIX, url=root(url), key=key, shown=reader.shown)


def _refuse(head: str, reason: str) -> BadServerString:
    """What follows `head` may be a secret, whatever it looks like."""
    reader = Reader(head, PREFIX, CREDENTIALS_EXAMPLE, secret_from=2)
    refusal = reader.refuse(reason)
    return BadServerString(
        reason, shown=f"{refusal.shown}{GAP}***", column=len(refusal.shown) + 1,
        example=CREDENTIALS_EXAMPLE,
    )  # fmt: skip


def root(url: str | None) -> str:
    """The server's root: a base URL without the slash, or the /v1, at its end."""
    return (url or "").rstrip("/").removesuffix("/v1").rstrip("/")


def headers(server: Server) -> dict[str, str]:
    """The authorization of every request, and the string's own headers."""
    return {**_authorization(server), **server.headers}


def _authorization(server: Server) -> dict[str, str]:
    if server.user is not None and server.password is not None:
        words = f"{server.user}:{server.password}".encode()
        return {"authorization": f"Basic {b64encode(words).decode()}"}
    return {"authorization": f"Bearer {server.key}"} if server.key else {}
