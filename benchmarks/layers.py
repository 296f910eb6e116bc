"""Which part of the relay a source file belongs to, for the profile in the documentation."""

from __future__ import annotations

from collections.abc import Mapping

LAYERS: Mapping[str, tuple[str, ...]] = {
    "the caller's connection: parsing, framing, writing": (
        "h2o_relay_proxy/protocol.py",
        "h2o_relay_proxy/answering.py",
        "h2o_relay_proxy/head.py",
        "h2o_relay_proxy/exchange.py",
        "h2o_relay_proxy/flow.py",
        "h2o_relay_proxy/framing.py",
        "h2o_relay_proxy/deadline.py",
        "h2o_relay_proxy/closing.py",
        "h2o_relay_proxy/respond.py",
        "h2o_relay_proxy/refusing.py",
    ),
    "the server's connection: writing, parsing, pool": (
        "h2o_relay/http.py",
        "h2o_relay/http_connection.py",
        "h2o_relay/http_head.py",
        "h2o_relay/http_clocks.py",
        "h2o_relay/http_body.py",
        "h2o_relay/outbox.py",
        "h2o_relay/frames.py",
        "h2o_relay/http_answer.py",
        "h2o_relay/http_known.py",
        "h2o_relay/http_pool.py",
    ),
    "keys, limits, metrics, log and usage": (
        "h2o_relay_proxy/desk.py",
        "h2o_relay_proxy/used.py",
        "h2o_relay_proxy/routes.py",
        "h2o_relay_proxy/reserving.py",
        "h2o_relay/usage.py",
        "h2o_relay/api_keys.py",
        "accounting/",
        "seeing/",
        "store/",
        "sqlalchemy/",
        "python3",
        "json/",
        "logging/",
    ),
    "the event loop": ("asyncio/", "uvloop/"),
    "reading and checking a request, an answer's headers": ("h2o_relay_proxy/",),
    "kernel: routing, plugin, events": ("h2o_relay/", "h2o_relay_", "routing/", "prompts/"),
}
"""By the beginning of the last two parts of a path; the first that fits counts."""
OTHER = "everything else"


def layer_of(place: str) -> str:
    """The part that a place of the sampler (`folder/file.py:12 name`) belongs to."""
    for layer, starts in LAYERS.items():
        if place.startswith(starts):
            return layer
    return OTHER


def shares(lines: Mapping[str, int]) -> dict[str, float]:
    """How much of all samples fell into each part, the greatest first."""
    counts: dict[str, int] = {}
    for place, count in lines.items():
        layer = layer_of(place)
        counts[layer] = counts.get(layer, 0) + count
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    return {layer: count / total for layer, count in ranked}
