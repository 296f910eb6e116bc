"""Where `h2o status` has it from: the relay's administration, else its list of models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from .failures import Failure
from .relay_client import NoRelay, Refused, RelayClient
from .status_rows import Row, of_model, of_view
from .status_trouble import Trouble, troubles

PACE = 1.0  # seconds between looks where nothing tells of changes, and between tries
CLOSED = frozenset({401, 403, 404})
"""What /admin answers where it is not for the holder of this key."""
ADMIN = "/admin/deployments"
CHANGES = "/admin/changes"
LIST = "/v1/models"


@dataclass(frozen=True, slots=True)
class News:
    """What is known now; `problem` says why it may be out of date, "" if it is not."""

    rows: tuple[Row, ...]
    problem: str = ""
    troubles: tuple[Trouble, ...] = ()


async def looked(relay: RelayClient) -> News:
    """All as it is now. Raises NoRelay, Failure."""
    return News(tuple(await _rows(relay)), troubles=await troubles(relay))


async def _rows(relay: RelayClient) -> list[Row]:
    if relay.admin:
        try:
            data = await relay.ask("GET", ADMIN, relay.admin)
            return [of_view(view) for view in _listed(relay, data)]
        except Refused as error:
            _unless_closed(error)
    return await _public(relay)


async def followed(relay: RelayClient) -> AsyncGenerator[News, None]:
    """The same at once and whenever it changes, without an end. A relay that goes away later is
    waited for. Close it. Raises NoRelay, Failure for one that is not there in the beginning.
    """
    known: News | None = None
    async with aclosing(_models(relay)) as models:
        coming = asyncio.ensure_future(anext(models))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=None if known is None else PACE)
                news = await coming if done else known
                assert news is not None
                found = replace(news, troubles=await troubles(relay))
                if done or known is None or _parts(found) != _parts(known):
                    yield found
                known = found
                if done:
                    coming = asyncio.ensure_future(anext(models))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _parts(news: News) -> list[str | None]:
    """Which are in trouble: what they say of it has figures that change all the time."""
    return [trouble.part for trouble in news.troubles]


async def _models(relay: RelayClient) -> AsyncGenerator[News, None]:
    known: tuple[Row, ...] | None = None
    while True:
        try:
            async with aclosing(_changes(relay)) as changes:
                async for rows in changes:
                    known = tuple(rows)
                    yield News(known)
        except NoRelay as error:
            if known is None:
                raise
            yield News(known, error.message)
        await asyncio.sleep(PACE)


async def _changes(relay: RelayClient) -> AsyncGenerator[list[Row], None]:
    if relay.admin:
        try:
            async with aclosing(relay.events(CHANGES, relay.admin)) as events:
                async for data in events:
                    yield [of_view(view) for view in _listed(relay, data)]
        except Refused as error:
            _unless_closed(error)
    told: list[Row] | None = None
    while True:
        rows = await _public(relay)
        if rows != told:
            told = rows
            yield rows
        await asyncio.sleep(PACE)


async def _public(relay: RelayClient) -> list[Row]:
    try:
        data = await relay.ask("GET", LIST, relay.key)
    except Refused as error:
        if error.status != 401:
            raise
        hint = "set H2O_API_KEY or ADMIN_PASS, or give --key"
        raise Failure(f"the relay at {relay.url} wants a key", hint) from None
    return [of_model(entry) for entry in _listed(relay, data)]


def _listed(relay: RelayClient, data: Any) -> list[Any]:
    found = data.get("data") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NoRelay(relay.url, "what answers there has no list of models")
    return found


def _unless_closed(error: Refused) -> None:
    if error.status not in CLOSED:
        raise error
