"""Server strings: `gradio:URL` and `gradio:HOST[:PORT[:USER:PASSWORD]]`, after bare URLs' rules."""

from __future__ import annotations

from dataclasses import replace

from h2o_relay.errors import BadServerString
from h2o_relay.serverstring import parse_bare
from h2o_relay.types import Server

PLUGIN = "gradio_remote"
PREFIXES = ("gradio", "gradio_remote")
KEY_ENV = ("H2OGPT_H2OGPT_KEY",)
EXAMPLE = "gradio:192.168.1.46:7860:user:password"
SCHEME = "http://"


def parse(text: str) -> Server | None:
    """The server of a string with one of our prefixes; None for any other string.

    Raises BadServerString, with column and masked string those of `text`.
    """
    prefix, colon, rest = text.partition(":")
    if prefix.strip() not in PREFIXES:
        return None
    address = rest.strip()
    if not address:
        raise BadServerString(
            "a host is missing", shown=text, column=len(text) + 1, example=EXAMPLE
        )
    start = len(prefix) + len(colon) + len(rest) - len(rest.lstrip())
    added = "" if "://" in address else SCHEME
    try:
        server = parse_bare(added + address)
    except BadServerString as error:
        column = error.column - len(added) + start if error.column else 0
        raise BadServerString(
            error.reason, shown=text[:start] + error.shown.removeprefix(added),
            column=max(column, 0), example=EXAMPLE,
        ) from None  # fmt: skip
    return ours(replace(server, shown=text[:start] + server.shown.removeprefix(added)))


def ours(server: Server, api: str | None = None) -> Server:
    """The server of a bare URL as one of this plugin's; `api` says which API it has, if known."""
    options = {**server.options, "api": api} if api else server.options
    return replace(server, plugin=PLUGIN, api="chat", key_env=KEY_ENV, options=options)
