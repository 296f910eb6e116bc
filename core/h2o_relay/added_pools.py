"""Pools that are made while the relay runs, through its admin API, and kept beside added models."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import Forbidden, InvalidRequest, NotFound
from .pools import PoolError, PoolSpec, pool_spec

if TYPE_CHECKING:
    from .administration import Keeper
    from .configuration import Configuration

KEY = "pool"
"""What tells a stored pool, whose name it holds, from a stored model."""


class AddedPools:
    """One for each relay; its caller sees to it that one change follows the other."""

    def __init__(self, configuration: Configuration, keeper: Keeper | None) -> None:
        self._configuration = configuration
        self._keeper = keeper
        self._ids: dict[str, str] = {}

    async def put(self, entry: Mapping[str, Any]) -> str:
        """Make a pool, or change one that was added: `{"name", "members", ...}`, as in the file.
        Its name. Raises InvalidRequest; Forbidden for one that was given when the relay was
        started.
        """
        name, spec = read(entry)
        self._refuse_given(name)
        await self._configuration.put_pool(spec)
        id = self._ids.setdefault(name, secrets.token_hex(4))
        if self._keeper is not None:
            await self._keeper.put(id, {KEY: name, **spec.written()})
        return name

    async def remove(self, name: str) -> None:
        """Raises NotFound; Forbidden for one that was given when the relay was started."""
        self._refuse_given(name)
        id = self._ids.get(name)
        if id is None:
            raise NotFound("There is no such pool.", param="name")
        if self._keeper is not None:
            await self._keeper.delete(id)
        del self._ids[name]
        await self._configuration.drop_pool(name)

    async def restore(self, id: str, entry: Mapping[str, Any]) -> None:
        """Make a stored one again. Raises InvalidRequest."""
        name, spec = read({"name": entry[KEY], **{k: v for k, v in entry.items() if k != KEY}})
        if name in self._ids:  # made anew before the store could be read
            if self._keeper is not None and self._ids[name] != id:
                await self._keeper.delete(id)
            return
        await self._configuration.put_pool(spec)
        self._ids[name] = id

    def _refuse_given(self, name: str) -> None:
        if name in self._configuration.given_pools:
            raise Forbidden(
                "This pool was given when the relay was started: change it there.",
                code="not_added",
            )


def read(entry: Mapping[str, Any]) -> tuple[str, PoolSpec]:
    """A pool as it is written, with its name. Raises InvalidRequest."""
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequest("'name' must be the pool's name", param="name")
    try:
        return name, pool_spec(name, {key: v for key, v in entry.items() if key != "name"})
    except PoolError as error:
        raise InvalidRequest(f"{error}.") from None
