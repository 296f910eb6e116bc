"""Where `h2o keys` works: a relay that runs, over /admin, or straight on the store. Both say the
same: a key as `accounting.keys.view` has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote

from .. import settings as table
from ..settings import Settings, store_url
from .failures import Failure
from .notes import note
from .relay_client import URL, NoRelay, Refused, RelayClient

PATH = "/admin/keys"
NOT_ADMITTED = frozenset({401, 403, 404, 405})
"""What is answered where the admin key is another, or where there is no /admin/keys."""
Key = dict[str, Any]


class Source(Protocol):
    """Everything raises Failure or RelayError, in words."""

    place: str
    """What people are told that keys were made in."""

    async def all(self) -> list[Key]: ...

    async def create(self, body: Mapping[str, Any]) -> Key:
        """With "key"."""
        ...

    async def revoke(self, ref: str) -> Key: ...

    async def rotate(self, ref: str, grace: float) -> Key:
        """With "key"."""
        ...


@asynccontextmanager
async def source(flags: Mapping[str, Any], settings: Settings) -> AsyncIterator[Source]:
    """The relay that --url names; the store that --store or --save-dir names; else the relay that
    runs on this machine, if it takes the admin key that is known here; else this machine's store.
    """
    named = flags.get("url") or table.environment().get(URL)
    store_named = any(flags.get(name) is not None for name in ("store", "save_dir"))
    if named or not store_named:
        async with RelayClient(flags, settings) as client:
            relay = OfRelay(client)
            if named or await _admits(client):
                yield relay
                return
    async with _of_store(settings) as found:
        yield found


async def _admits(client: RelayClient) -> bool:
    """Whether a relay runs here and takes our admin key."""
    try:
        await client.ask("GET", PATH, client.admin or client.key)
    except NoRelay:
        return False
    except Refused as error:
        if error.status not in NOT_ADMITTED:
            raise
        note(
            f"the relay at {client.url} wants its admin key (ADMIN_PASS, --key), which is not "
            "known here: this is done in the store"
        )
        return False
    return True


class OfRelay:
    def __init__(self, client: RelayClient) -> None:
        self._client = client
        self.place = f"the relay at {client.url}"

    async def all(self) -> list[Key]:
        found = await self._client.ask_as_admin("GET", PATH)
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, list):
            raise self._unknown()
        return [self._key(one) for one in data]

    async def create(self, body: Mapping[str, Any]) -> Key:
        return self._key(await self._client.ask_as_admin("POST", PATH, body))

    async def revoke(self, ref: str) -> Key:
        return self._key(await self._client.ask_as_admin("DELETE", _path(ref)))

    async def rotate(self, ref: str, grace: float) -> Key:
        path = f"{_path(ref)}/rotate"
        return self._key(await self._client.ask_as_admin("POST", path, {"grace": grace}))

    def _key(self, found: Any) -> Key:
        if not isinstance(found, dict) or found.get("object") != "key":
            raise self._unknown()
        return found

    def _unknown(self) -> Failure:
        return Failure(f"{self.place} answers in a form that is not known here")


class OfStore:
    def __init__(self, keys: Any, place: str) -> None:
        self._keys = keys
        self.place = place

    async def all(self) -> list[Key]:
        return [_view(info) for info in await self._keys.all()]

    async def create(self, body: Mapping[str, Any]) -> Key:
        info, key = await self._keys.create(body)
        return {**_view(info), "key": key}

    async def revoke(self, ref: str) -> Key:
        return _view(await self._keys.revoke(ref))

    async def rotate(self, ref: str, grace: float) -> Key:
        info, key = await self._keys.rotate(ref, grace)
        return {**_view(info), "key": key}


@asynccontextmanager
async def _of_store(settings: Settings) -> AsyncIterator[OfStore]:
    try:
        from ..store import Keys, Store
        from ..store.engine import read_url, shown
    except ModuleNotFoundError as error:
        raise Failure(
            f"the store needs {error.name}, which is not installed",
            'install it with: pip install "h2o-relay[store]"',
        ) from None
    url = store_url(settings)
    async with Store(url) as store:
        yield OfStore(Keys(store), f"the store ({shown(read_url(url))})")


def _view(info: Any) -> Key:
    import time

    from ..accounting.keys import view

    return view(info, time.time())


def _path(ref: str) -> str:
    return f"{PATH}/{quote(ref, safe='')}"
