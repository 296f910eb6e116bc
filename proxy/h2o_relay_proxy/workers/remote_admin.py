"""`AdminAPI` of a worker: the coordinator's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from h2o_relay import views
from h2o_relay.admin import AdminAPI, DeploymentView, Found, Series, System, Tried
from h2o_relay.administration import PACE
from h2o_relay.errors import RelayError
from h2o_relay.workers.channel import Channel
from h2o_relay.workers.following import FollowingKernel

if TYPE_CHECKING:
    from h2o_relay.accounting.usage_query import UsageQuery, UsageReport
    from h2o_relay.applying import Change

LOOKS: Final = ("deployments", "entry", "explain", "export", "identify", "series", "set_loaded",
                "system", "try_out", "usage")  # fmt: skip
CHANGES: Final = ("add", "change", "put_pool", "reload", "remove", "remove_pool")
"""After these all workers serve something else."""


class RemoteAdmin:
    """Whatever is asked of it the coordinator does, once that knows what was counted here."""

    def __init__(self, channel: Channel, kernel: FollowingKernel) -> None:
        self._channel = channel
        self._kernel = kernel

    async def _ask(self, name: str, *args: Any) -> Any:
        self._kernel.tell_counts()
        return await self._channel.ask("admin", name, args)

    def deployments(self) -> Sequence[DeploymentView]:
        """Those counters that are of this worker alone."""
        return views.deployments(self._kernel)

    async def changes(self) -> AsyncGenerator[Sequence[DeploymentView], None]:
        told: Sequence[DeploymentView] | None = None
        while True:
            try:
                now = await self._ask("deployments")
            except RelayError:
                if told is None:
                    raise
                return  # whoever looks comes again
            if now != told:
                told = now
                yield now
            await self._kernel.changed(PACE)

    async def identify(self, entry: Mapping[str, Any]) -> Found:
        return await self._ask("identify", entry)  # type: ignore[no-any-return]

    async def add(self, entry: Mapping[str, Any]) -> str:
        return await self._ask("add", entry)  # type: ignore[no-any-return]

    async def change(self, id: str, entry: Mapping[str, Any]) -> None:
        await self._ask("change", id, entry)

    async def remove(self, id: str) -> None:
        await self._ask("remove", id)

    async def entry(self, id: str) -> Mapping[str, Any]:
        return await self._ask("entry", id)  # type: ignore[no-any-return]

    async def try_out(self, name: str) -> Tried:
        return await self._ask("try_out", name)  # type: ignore[no-any-return]

    async def set_loaded(self, name: str, on: bool) -> None:
        await self._ask("set_loaded", name, on)

    async def put_pool(self, entry: Mapping[str, Any]) -> str:
        return await self._ask("put_pool", entry)  # type: ignore[no-any-return]

    async def remove_pool(self, name: str) -> None:
        await self._ask("remove_pool", name)

    async def reload(self) -> Change:
        return await self._ask("reload")  # type: ignore[no-any-return]

    async def export(self, secrets: bool = False) -> str:
        return await self._ask("export", secrets)  # type: ignore[no-any-return]

    async def explain(self, name: str | None) -> Mapping[str, Any]:
        return await self._ask("explain", name)  # type: ignore[no-any-return]

    async def series(self) -> Sequence[Series]:
        return await self._ask("series")  # type: ignore[no-any-return]

    async def usage(self, query: UsageQuery) -> UsageReport:
        return await self._ask("usage", query)  # type: ignore[no-any-return]

    async def system(self) -> System:
        return await self._ask("system")  # type: ignore[no-any-return]


def admin_handler(
    admin: AdminAPI, spread: Callable[[], Awaitable[None]]
) -> Callable[[str, tuple[Any, ...]], Awaitable[Any]]:
    """What a coordinator's end of a channel does when it is asked by `RemoteAdmin`; `spread` has
    all workers serve what was changed.
    """

    async def answer(name: str, args: tuple[Any, ...]) -> Any:
        if name == "deployments":
            return admin.deployments()
        assert name in LOOKS or name in CHANGES
        result = await getattr(admin, name)(*args)
        if name in CHANGES:
            await spread()
        return result

    return answer
