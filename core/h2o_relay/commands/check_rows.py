"""What `h2o check` knows of each server, for programs: one JSON object a server, no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .failures import Mistake
from .servers import describe

if TYPE_CHECKING:
    from ..entry import ServerStatus
    from ..errors import BadServerString
    from ..plugins import Plugins
    from ..spec import ServerSpec
    from ..types import Capabilities, Model, Server

SECRET = re.compile("key|secret|token|passw|credential|auth", re.IGNORECASE)
"""What is in the name of an option that may hold a secret."""
SHOWN = 200  # characters of an option's value


def named(spec: ServerSpec) -> dict[str, Any]:
    """What the operator calls a server's model, if anything."""
    return {"base_model": spec.base_model, "display_name": spec.display_name}


def found(status: ServerStatus, plugins: Plugins) -> dict[str, Any]:
    """A server that was looked at: what it is, how it is doing, what it offers and can."""
    server = status.server
    unknown = {"backend": None} if server.plugin is None else {}
    return {
        **describe(server),
        **unknown,
        "options": options(server),
        "payload": payload(status),
        "state": status.state,
        "reason": status.reason or None,
        "models": [model_row(model) for model in status.models],
        "capabilities": None if server.plugin is None else abilities(server, plugins),
    }


def refused(error: BadServerString | Mistake) -> dict[str, Any]:
    """A server string that cannot be read, and why."""
    reason = getattr(error, "reason", error.message)
    row = {"server": getattr(error, "shown", ""), "state": "invalid", "reason": reason}
    return row | {"column": getattr(error, "column", 0) or None}


def model_row(model: Model) -> dict[str, Any]:
    """A model; `kinds` only where the server says so itself."""
    kinds = {} if model.kinds is None else {"kinds": sorted(model.kinds)}
    return {"id": model.id, "max_context": model.max_context, **kinds}


def abilities(server: Server, plugins: Plugins) -> dict[str, Any] | None:
    """What a server can do, as far as its plugin can tell; None where it fails to."""
    from ..errors import RelayError
    from ..types import Everything

    assert server.plugin is not None
    try:
        plugin = plugins.get(server.plugin)
        can: Capabilities = plugin.capabilities(server)
    except RelayError:
        return None  # `reason` says why
    return {
        "kinds": sorted(can.kinds),
        "fields": "all" if isinstance(can.fields, Everything) else sorted(can.fields),
        "paths": sorted(can.paths),
        "cancels": sorted(can.cancels),
        "continues_text": can.continues_text,
        "tokenizer": can.tokenizer,
        "load": "load" in plugin.hooks,
    }


def payload(status: ServerStatus) -> str | None:
    """What an endpoint is sent, for backends that send one thing or another: as it was set, else
    as its plugin says in the model's entry.
    """
    places = [status.server.options, *(model.raw for model in status.models)]
    return next((str(place["payload"]) for place in places if place.get("payload")), None)


def options(server: Server) -> dict[str, str]:
    """The plugin's own fields as they hold for this server, the environment's among them; what
    may be secret is masked.
    """
    from ..serverstring import mask

    own = {text for text in (server.key, server.password) if text}
    told = {}
    for name, value in sorted(server.options.items()):
        text = str(value)
        hidden = bool(SECRET.search(name)) or any(secret in text for secret in own)
        told[name] = "***" if hidden else mask(text, (), SHOWN)
    return told
