"""`openai_azure[_chat]:DEPLOYMENT[:BASE_URL[:API_VERSION[:KEY]]]`: h2oGPT's fields, read with care.

Where h2oGPT misreads (a scheme inside BASE_URL, empty and `None` fields) they are read as the
writer meant them. A KEY that is the word `entra` asks for Entra ID instead of a key.
"""

from __future__ import annotations

import re

from h2o_relay.serverstring import Reader
from h2o_relay.types import Server

PREFIXES = {
    "openai_azure": "text",
    "openai_azure_chat": "chat",
    "azure": "text",
    "azure_chat": "chat",
}
DEFAULT_VERSION = "2024-07-01-preview"
"""h2oGPT's default, so that a string without a version means what it meant there."""
VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?|v\d+|latest|preview")
KEY_ENV = ("OPENAI_AZURE_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")
URL_ENV = ("AZURE_OPENAI_ENDPOINT", "OPENAI_AZURE_API_BASE")
CHAT_ONLY = ("gpt-3.5-turbo", "gpt-4")
EXAMPLE = "openai_azure_chat:DEPLOYMENT:NAME.openai.azure.com:2024-10-21:KEY"
ENTRA = "entra"


def parse(text: str) -> Server | None:
    """The server, unless the string has another plugin's prefix. Raises BadServerString.

    `options`: `deployment` and `api_version` (texts), and `auth` ("key" or "entra") where the
    string itself says which.
    """
    prefix = text.split(":", 1)[0].strip()
    if prefix not in PREFIXES:
        return None
    reader = Reader(text, prefix, EXAMPLE)
    deployment = reader.optional()
    if deployment is None:
        field = reader.fields[0] if reader.fields else None
        raise reader.refuse("the name of a deployment is missing", field)
    url = reader.url("https")
    options = {"deployment": deployment, "api_version": _version(reader)}
    key = _key(reader)
    reader.end()
    if key is not None:
        options["auth"] = ENTRA if key == ENTRA else "key"
    return Server(
        plugin="azure",
        url=url,
        api="chat" if PREFIXES[prefix] == "chat" else "text",
        key=None if key == ENTRA else key,
        model=deployment,
        key_env=KEY_ENV,
        url_env=URL_ENV,
        chat_only=CHAT_ONLY,
        needs=("url",),
        options=options,
        shown=reader.shown,
    )


def uses_entra(server: Server) -> bool:
    """Whether requests carry a token of Entra ID: the string says so, or H2O_AZURE_AUTH does
    and the string has no key of its own.
    """
    return str(server.options.get("auth", "")).strip().lower() == ENTRA


def _version(reader: Reader) -> str:
    version = reader.optional()
    if version is None:
        return DEFAULT_VERSION
    if not VERSION.fullmatch(version):
        field = reader.fields[reader.at - 1]
        reader.secrets.append(field)  # most likely a key that is one field too early
        raise reader.refuse("the API version is a date such as 2024-10-21, and a key follows it",
                            field)  # fmt: skip
    return version


def _key(reader: Reader) -> str | None:
    left = reader.fields[reader.at :]
    if left and left[0].text == ENTRA:
        return reader.optional()
    return reader.secret()
