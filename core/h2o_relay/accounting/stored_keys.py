"""Whether the store has keys, for the decision whether a relay may be reached from outside."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from ..errors import RelayError
from ..settings import Settings, store_url

SQLITE = "sqlite:///"
BRIEF = 0.05  # seconds that a start waits for a file that is locked
TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'keys'"
log = logging.getLogger(__name__)


def any_stored(settings: Settings) -> bool:
    """Whether callers need a key because the store has or had one. It runs a loop of its own, and
    makes no store where there is none; one that cannot be read counts as one without keys.
    """
    if settings.enforce_h2ogpt_api_key is False or find_spec("sqlalchemy") is None:
        return False
    try:
        return asyncio.run(_any(store_url(settings)))
    except RelayError as error:
        log.warning("the store's keys cannot be read: %s", error.message)
        return False


def none_stored(url: str) -> bool:
    """Whether a store in a SQLite file has and had no key, told without loading SQLAlchemy; false
    where that cannot be told at once.
    """
    import sqlite3

    path = Path(url.removeprefix(SQLITE))
    if not url.startswith(SQLITE) or "?" in url:
        return False
    try:
        if not path.exists():
            return _can_be_made(path)
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, timeout=BRIEF, uri=True)) as database:
            there = database.execute(TABLE).fetchone()
            return there is None or database.execute("SELECT 1 FROM keys").fetchone() is None
    except (sqlite3.Error, OSError):
        return False


def _can_be_made(path: Path) -> bool:
    """Whether a file can be made at this path, perhaps with folders above it: else nobody knows
    what is missing there.
    """
    above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


async def _any(url: str) -> bool:
    from ..store import Keys, LastingStore
    from ..store.engine import read_url, sqlite_file

    path = sqlite_file(read_url(url))
    if path is not None and not path.exists():
        return False
    async with LastingStore(url) as store:
        return bool(await Keys(store).all())
