"""Where `h2o usage` has it from: a relay that runs, or straight from the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from .. import settings as table
from ..accounting.usage_query import UsageQuery, UsageReport, parameters, read_report
from ..settings import Settings, store_url
from .config_file import current_config
from .failures import Failure
from .notes import note
from .relay_client import URL, NoRelay, Refused, RelayClient

PATH = "/admin/usage"
NOT_ADMITTED = frozenset({401, 403, 404, 405})
"""What is answered where the admin key is another, or where there is no /admin/usage."""


async def found(query: UsageQuery, flags: Mapping[str, Any], settings: Settings) -> UsageReport:
    """From the relay that --url names; from the store that --store or --save-dir names; else from
    the relay that runs on this machine, if it takes the admin key that is known here; else from
    this machine's store. Raises Failure, RelayError.
    """
    named = flags.get("url") or table.environment().get(URL)
    store_named = any(flags.get(name) is not None for name in ("store", "save_dir"))
    if named or not store_named:
        async with RelayClient(flags, settings) as client:
            report = await _of_relay(client, query, bool(named))
        if report is not None:
            return report
    return await _of_store(query, settings)


async def _of_relay(client: RelayClient, query: UsageQuery, named: bool) -> UsageReport | None:
    """None where a relay that was not named does not tell."""
    path = f"{PATH}?{urlencode(parameters(query))}"
    try:
        if named:
            data = await client.ask_as_admin("GET", path)
        else:
            data = await client.ask("GET", path, client.admin or client.key)
        return read_report(data)
    except (KeyError, TypeError):
        raise Failure(f"the relay at {client.url} tells it in a form that is not known here") from (
            None
        )
    except NoRelay:
        if named:
            raise
    except Refused as error:
        if named or error.status not in NOT_ADMITTED:
            raise
        note(f"the relay at {client.url} wants its admin key (ADMIN_PASS, --key), which is not "
             "known here: this is what the store has")  # fmt: skip
    return None


async def _of_store(query: UsageQuery, settings: Settings) -> UsageReport:
    from dataclasses import replace

    try:
        from ..store import Store, UsageStore
        from ..store.engine import read_url, sqlite_file
    except ModuleNotFoundError as error:
        raise Failure(
            f"the store needs {error.name}, which is not installed",
            'install it with: pip install "h2o-relay[store]"',
        ) from None
    url = store_url(settings)
    path = sqlite_file(read_url(url))
    if path is not None and not path.exists():
        raise Failure(f"there is no store: {path}", "--save-dir, --store or --url name another")
    config = current_config()
    async with Store(url) as store:
        report = await UsageStore(store).report(query)
    return report if config is None else replace(report, currency=config.prices.currency)
