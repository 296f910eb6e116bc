"""What the tabs of the page share. It exists once the page's server runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from h2o_relay.admin import AdminAPI
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings

if TYPE_CHECKING:
    from h2o_relay.store import Conversations, Votes

    from .turns import Turns


class Relay(KernelAPI, AdminAPI, Protocol):
    """`RemoteKernel`, or what stands for it in a test."""


@dataclass(frozen=True, slots=True)
class User:
    """Who sits before a page."""

    owner: str
    """Whose conversations and votes these are: the store's key."""
    name: str = ""
    """The name signed in with; "" where nobody signs in."""
    guest: bool = False


@dataclass(slots=True)
class Context:
    relay: Relay
    settings: Settings
    conversations: Conversations
    votes: Votes
    turns: Turns
    user: Callable[[Any], User]
    """From a `gr.Request`."""
    may_add: bool = True
    """Models may be added, changed and removed on the page."""
    extra: dict[str, Any] = field(default_factory=dict)


GetContext = Callable[[], Context]
"""Events call it; a page is built before its server runs."""
