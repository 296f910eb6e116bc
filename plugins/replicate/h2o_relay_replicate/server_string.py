"""`replicate:OWNER/NAME[:VERSION]` and where its API is.

The model string is what follows the first colon, as in h2oGPT; the version, which h2oGPT insists
on, may be left out. The token is never part of the string.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from h2o_relay.errors import BadServerString
from h2o_relay.serverstring import Field, Reader
from h2o_relay.types import Server

PREFIX = "replicate"
EXAMPLE = "replicate:meta/meta-llama-3-70b-instruct"
KEY_ENV = ("REPLICATE_API_TOKEN",)
URL_ENV = ("H2O_REPLICATE_URL", "REPLICATE_API_BASE_URL", "REPLICATE_BASE_URL")
DEFAULT_URL = "https://api.replicate.com"
TOKEN_START = "r8_"  # how Replicate's tokens begin
PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
MODEL = re.compile(rf"{PART}/{PART}")
VERSION = re.compile(PART)
SECONDS = {"poll_interval": 0.5, "cancel_timeout": 5.0}
"""Options and their defaults in seconds."""


def parse(text: str) -> Server | None:
    """The server of a string; None if it has another prefix. Raises BadServerString."""
    if text.split(":", 1)[0].strip() != PREFIX:
        return None
    reader = Reader(text, PREFIX, EXAMPLE, secret_from=2)
    for field in reader.fields:
        if field.text.startswith(TOKEN_START):
            reader.secrets.append(field)
            raise reader.refuse(f"a token does not belong here: set {KEY_ENV[0]}", field)
    model = _part(reader, MODEL, "the model is written OWNER/NAME")
    if model is None:
        raise reader.refuse("a model is missing", reader.fields[0] if reader.fields else None)
    version = _part(reader, VERSION, "a version is one word of letters and digits")
    reader.end()
    return Server(
        plugin=PREFIX,
        model=f"{model}:{version}" if version else model,
        key_env=KEY_ENV,
        url_env=URL_ENV,
        needs=("key",),
        shown=reader.shown,
    )


def _part(reader: Reader, pattern: re.Pattern[str], reason: str) -> str | None:
    field: Field | None = reader.next()
    if field is None or not field.given:
        return None
    if not pattern.fullmatch(field.text):
        raise reader.refuse(reason, field)
    return field.text


def base_url(server: Server) -> str:
    """The API's root with its /v1, which the address in the environment may have or lack.

    Raises BadServerString for an address that is no http(s) URL.
    """
    url = (server.url or DEFAULT_URL).strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
    except ValueError:
        fits = False
    if not fits:
        raise BadServerString(
            f"the address in {' or '.join(URL_ENV)} is no http(s) URL", shown=server.shown
        )
    return f"{url}/v1"


def seconds(server: Server, option: str) -> float:
    """An option from `H2O_REPLICATE_<OPTION>`. Raises BadServerString if it is no duration."""
    value = server.options.get(option, SECONDS[option])
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 < found < 3600:
        raise BadServerString(
            f"H2O_REPLICATE_{option.upper()} is a number of seconds", shown=server.shown
        )
    return found
