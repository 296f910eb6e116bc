"""What the tabs of the page share. It exists once the page's server runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from h2o_relay.accounting.caller import Allowance, Caller
from h2o_relay.accounting.limits import allows
from h2o_relay.admin import AdminAPI, DeploymentView
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings

if TYPE_CHECKING:
    from h2o_relay.store import Conversations, Votes

    from .turns import Turns


ACCOUNT, HOLDER = "user:", "held:"
"""How owners begin who have an account, and who signed in with a key of the relay's store."""


class Relay(KernelAPI, AdminAPI, Protocol):
    """`RemoteKernel`, or what stands for it in a test."""

    async def caller(self, *, key: str = "", holder: str = "") -> Caller | None:
        """Who presents a key to h2oGPT's calls, or has signed in with the one of an id; None for
        nobody. Its id, and the models that it may use. Raises RelayError.
        """
        ...


@dataclass(frozen=True, slots=True)
class User:
    """Who sits before a page."""

    owner: str
    """Whose conversations and votes these are: the store's key."""
    name: str = ""
    """The name signed in with; "" where nobody signs in."""
    guest: bool = False


def asking_for(owner: str) -> dict[str, str]:
    """For whom the relay is asked, as `behalf` takes it: the account's name, or the key's id;
    nothing for guests, and where people have neither.
    """
    for start, name in ((ACCOUNT, "user"), (HOLDER, "holder")):
        if owner.startswith(start):
            return {name: owner.removeprefix(start)}
    return {}


@dataclass(slots=True)
class Context:
    relay: Relay
    settings: Settings
    conversations: Conversations
    votes: Votes
    turns: Turns
    user: Callable[[Any], User]
    """From a `gr.Request`."""
    models_of: Callable[[str], tuple[str, ...]] = lambda owner: ()
    """The models that an owner's key is for, as `Allowance.models` has them."""
    may_add: bool = True
    """Models may be added, changed and removed on the page."""
    extra: dict[str, Any] = field(default_factory=dict)

    def may_use(self, owner: str, model: str) -> bool:
        """Whether the relay would let an owner ask for a model."""
        models = self.models_of(owner)
        return not models or allows(Caller(id=owner, allowance=Allowance(models=models)), model)

    def offered(self, owner: str) -> list[DeploymentView]:
        """The deployments that an owner may ask for, as last known."""
        return [view for view in self.relay.deployments() if self.may_use(owner, view.name)]


GetContext = Callable[[], Context]
"""Events call it; a page is built before its server runs."""
