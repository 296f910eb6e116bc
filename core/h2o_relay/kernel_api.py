"""`KernelAPI`: what frontends may call, in this process or in another."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .admin import DeploymentView
    from .answer import Answer
    from .chunks import Completion
    from .counting import TokenCount
    from .entry import ServerStatus
    from .forwarding import Forwarded
    from .tries import Witness
    from .types import Call, Deployment, Kind


class KernelAPI(Protocol):
    """What frontends may call."""

    def models(self) -> list[Deployment]: ...

    def deployments(self) -> Sequence[DeploymentView]: ...

    def find(self, name: str | None) -> Deployment: ...

    def members(self, name: str) -> tuple[str, ...]:
        """Of a pool, the models that may answer for it; none for what is no pool."""
        ...

    def status(self) -> list[ServerStatus]: ...

    async def settled(self, timeout: float) -> None: ...

    def stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Answer]: ...  # fmt: skip

    def generate(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> Coroutine[Any, Any, Completion]: ...  # fmt: skip

    def offers(self, call: Call) -> bool: ...

    async def speaks(self, model: str | int | None, call: Call) -> bool: ...

    def forward(
        self, model: str | int | None, call: Call, session: str | None = None,
        strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Forwarded]: ...  # fmt: skip

    async def count_tokens(self, params: Mapping[str, Any]) -> TokenCount: ...

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str: ...
