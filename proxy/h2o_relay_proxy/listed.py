"""Models as `/v1/models` lists them, and what `/readyz` says of them.

All of it is what the kernel knows already: no server is asked. Callers are told how a model is
doing, never where its server is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from h2o_relay.admin import DeploymentView
from h2o_relay.catalog import INSTANCE_FIELD
from h2o_relay.errors import UpstreamUnavailable
from h2o_relay.health import ANSWERING, STATES, State
from h2o_relay.types import Deployment

FIELD = "h2o"
"""What only this relay tells of a model."""
ADDRESS = re.compile(r"\w+://\S+|\[[0-9A-Fa-f:.]+\](:\d+)?|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b")
HIDDEN = "(address)"


def by_name(views: Iterable[DeploymentView]) -> dict[str, DeploymentView]:
    """Views by the names that clients ask for; pools come last, and go before a deployment."""
    return {view.name: view for view in views if view.name}


def model_entry(
    deployment: Deployment, view: DeploymentView | None, instance: str
) -> dict[str, Any]:
    """A model as OpenAI lists it, its context as vLLM names it, and how it is doing."""
    entry = {
        "id": deployment.name,
        "object": "model",
        "created": deployment.created,
        "owned_by": deployment.owned_by,
        "max_model_len": deployment.max_context,
        INSTANCE_FIELD: instance,
    }
    if view is not None:
        entry[FIELD] = doing(view, deployment.server.url)
    return entry


def doing(view: DeploymentView, url: str | None) -> dict[str, Any]:
    """How a model is doing; `url` is its server's, which is not told."""
    told: dict[str, Any] = {"state": view.state, "since": view.since}
    if view.reason:
        told["reason"] = without_addresses(view.reason, url)
    if view.strategy is None:
        told["server"] = view.name
    else:
        told |= {"strategy": view.strategy, "members": view.members}
    return told | {"latency": view.latency, "running": view.running, "waiting": view.waiting}


def without_addresses(text: str, url: str | None) -> str:
    """A text for callers: no URL in it, no IP address, and not the host of `url`."""
    text = ADDRESS.sub(HIDDEN, text)
    host = urlsplit(url or "").hostname
    if host:
        text = re.sub(rf"\b{re.escape(host)}\b(:\d+)?", HIDDEN, text, flags=re.IGNORECASE)
    return text


def readiness(views: Iterable[DeploymentView]) -> dict[str, Any]:
    """What `/readyz` says once a model can answer: `models` that can, and all by their states.
    Raises UpstreamUnavailable before that, saying why.
    """
    counts = Counter(view.state for view in views if view.strategy is None)
    states = {state: counts[state] for state in STATES if counts[state]}
    able = sum(count for state, count in states.items() if state in ANSWERING)
    if not able:
        raise UpstreamUnavailable(f"No model can answer now: {_words(states)}.", retry_after=1)
    return {"status": "ready", "models": able, "states": states}


def _words(states: Mapping[State, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items()) or "there is none"
