"""Where a call goes: the deployment is in the path, the API's version in the query.

Classic API: `{endpoint}/openai/deployments/{deployment}{path}?api-version=...` for what a
deployment does, `{endpoint}/openai{path}?api-version=...` for the rest (Azure's data-plane
inference specification, 2024-10-21). A base URL that ends in /openai/v1 is the newer API: OpenAI's
own paths, the deployment as `model` in the body, no version needed. Both take the key as `api-key`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from h2o_relay.types import Call, Server, Target

from .strings import DEFAULT_VERSION, uses_entra

DEPLOYED = frozenset(
    {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/edits",
        "/images/generations",
    }
)
"""Paths that the classic API has below a deployment; the official client's list too."""
PATHS = DEPLOYED | {"/models", "/responses"}
FOREIGN = frozenset(
    {
        "/chat/completions/input_tokens", "/detokenize", "/images/variations", "/messages",
        "/messages/count_tokens", "/moderations", "/rerank", "/score", "/tokenize",
    }
)  # fmt: skip
"""Paths that OpenAI or other servers have, and Azure's API has not."""
RESPONSES_SINCE = "2025-03-01"
"""The date of the classic API's version, a preview, that brought /responses."""
DATE = re.compile(r"\d{4}-\d\d-\d\d")
CLASSIC = re.compile(r"/openai(/deployments/[^/]+)?$")
"""What the base URL may already end with, as it is copied from a portal or a client's settings."""


class Roots(NamedTuple):
    """URLs that paths are appended to, without a slash at the end."""

    resource: str
    deployment: str
    dated: bool
    """Calls name the API's version, as the classic API wants it."""


@lru_cache(maxsize=256)
def roots(url: str, deployment: str) -> Roots:
    base = (url if "://" in url else f"https://{url}").rstrip("/")
    if base.endswith("/openai/v1"):
        return Roots(base, base, dated=False)
    resource = f"{CLASSIC.sub('', base)}/openai"
    return Roots(resource, f"{resource}/deployments/{quote(deployment, safe='')}", dated=True)


def paths(server: Server) -> frozenset[str]:
    """The known paths that a server's version of the API has."""
    dated = roots(server.url or "", server.options["deployment"]).dated
    since = DATE.match(server.options["api_version"]) if dated else None
    return PATHS - {"/responses"} if since and since[0] < RESPONSES_SINCE else PATHS


def target(server: Server, call: Call) -> Target | None:
    """Where a call goes; None for a path that Azure has not."""
    lacks = call.path in FOREIGN or (call.path in PATHS and call.path not in paths(server))
    return None if lacks else placed(server, call)


def placed(server: Server, call: Call) -> Target:
    """Pure. A token of Entra ID is added by the client, for it changes."""
    version = server.options["api_version"]
    found = roots(server.url or "", server.options["deployment"])
    queries = [call.query] if call.query else []
    if found.dated or version != DEFAULT_VERSION:
        queries.insert(0, f"api-version={version}")
    root = found.deployment if call.path in DEPLOYED else found.resource
    query = f"?{'&'.join(queries)}" if queries else ""
    key = {"api-key": server.key} if server.key and not uses_entra(server) else {}
    return Target(
        method=call.method,
        url=f"{root}{call.path}{query}",
        headers={**call.headers, **key, **server.headers},
        body=call.body,
    )
