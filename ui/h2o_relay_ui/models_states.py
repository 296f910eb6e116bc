"""How models are doing, in words and tones, for all tabs; and what is different about a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from h2o_relay.admin import DeploymentView
from h2o_relay.health import ANSWERING

WORDS = {
    "healthy": "healthy",
    "busy": "busy",
    "warming": "warming up",
    "offline": "offline",
    "auth-error": "key refused",
    "rate-limited": "rate limited",
    "draining": "draining",
    "unknown": "unknown",
}
STAGES = {
    ("unknown", "opening"): "starting",
    ("unknown", "listing"): "asking for its models",
    ("unknown", "unidentified"): "not identified",
    ("offline", "mismatch"): "model not there",
}
"""What the stage of a server tells more than its state."""
TONES = {
    "healthy": "good",
    "busy": "full",
    "warming": "waiting",
    "rate-limited": "waiting",
    "offline": "bad",
    "auth-error": "bad",
}


def word(view: DeploymentView) -> str:
    """The state in a word or two."""
    return STAGES.get((view.state, view.stage)) or WORDS.get(view.state, view.state)


def tone(view: DeploymentView) -> str:
    """The colour, as a class of models.css."""
    return TONES.get(view.state, "idle")


def answers(view: DeploymentView) -> bool:
    """A request would be answered, as far as is known."""
    return view.state in ANSWERING


def is_pool(view: DeploymentView) -> bool:
    """It is not one server's, and is neither changed nor removed here."""
    return view.plugin == "pool" and bool(view.members)


def members(view: DeploymentView, states: Mapping[str, str]) -> list[str]:
    """A pool's members, each with its state where it has one: `a (healthy)`."""
    return [f"{name} ({states[name]})" if name in states else name for name in view.members]


def words(views: Iterable[DeploymentView]) -> dict[str, str]:
    """The states by the models' names; of two of one name the one that answers."""
    found: dict[str, str] = {}
    for view in sorted(views, key=answers):
        if view.name:
            found[view.name] = word(view)
    return found
