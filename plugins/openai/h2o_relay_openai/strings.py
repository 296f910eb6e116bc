"""The server strings of OpenAI's and Groq's servers.

`openai[_chat][:DEPLOYMENT[:BASE_URL[:API_VERSION[:KEY]]]]` has h2oGPT's fields, where DEPLOYMENT
and API_VERSION mean nothing here and may be `None`. `groq[:KEY]` is h2oGPT's too; so that a proxy
of it can be named, `groq:BASE_URL[:KEY]` with a scheme, and the five fields of `openai` are read as
well.
"""

from __future__ import annotations

from h2o_relay.serverstring import Reader
from h2o_relay.types import Server

KEY_ENV = ("OPENAI_API_KEY",)
URL_ENV = ("OPENAI_BASE_URL",)
OPTION_ENV = {"organization": ("OPENAI_ORG_ID",), "project": ("OPENAI_PROJECT_ID",)}
"""Where OpenAI's own client looks, for a string that names no other server."""
CHAT_ONLY = ("gpt-3.5-turbo", "gpt-4")
EXAMPLE = "openai_chat:None:https://api.example.com/v1:None:KEY"
GROQ_URL = "https://api.groq.com/openai/v1"
GROQ_KEY_ENV = ("GROQ_API_KEY",)
GROQ_EXAMPLE = "groq:KEY"


def parse(text: str) -> Server | None:
    """The server, unless the string has another plugin's prefix. Raises BadServerString."""
    prefix = text.split(":", 1)[0].strip()
    if prefix == "groq":
        return _groq(text)
    if prefix not in ("openai", "openai_chat"):
        return None
    reader = Reader(text, prefix, EXAMPLE)
    url, key = _five_fields(reader)
    return Server(
        plugin="openai",
        url=url,
        api="chat" if prefix == "openai_chat" else "text",
        key=key,
        key_env=KEY_ENV,
        url_env=URL_ENV,
        option_env=OPTION_ENV if url is None else {},
        chat_only=CHAT_ONLY,
        shown=reader.shown,
    )


def _groq(text: str) -> Server:
    reader = Reader(text, "groq", GROQ_EXAMPLE, secret_from=0)
    first = reader.fields[0].text if reader.fields else ""
    second = reader.fields[1].text if len(reader.fields) > 1 else ""
    if first in ("http", "https") and second.startswith("//"):
        url, key = reader.url("https"), reader.secret()
        reader.end()
    elif len(reader.fields) < 2:
        url, key = None, reader.secret()
    elif first in ("", "None"):
        url, key = _five_fields(reader)
    else:
        reader.next()
        raise reader.refuse("a key stands alone, or after a URL: groq:https://host/v1:KEY")
    return Server(
        plugin="openai",
        url=url or GROQ_URL,
        api="chat",
        key=key,
        key_env=GROQ_KEY_ENV,
        needs=("key",),
        vendor="groq",
        shown=reader.shown,
    )


def _five_fields(reader: Reader) -> tuple[str | None, str | None]:
    """Base URL and key, with what only Azure has passed over."""
    deployment = reader.next()
    if deployment is not None and deployment.text.startswith("sk-"):
        reader.secrets.append(deployment)
        raise reader.refuse("this looks like a key, which is the fourth field", deployment)
    url = reader.url("https")
    reader.optional()
    key = reader.secret()
    reader.end()
    return url, key
