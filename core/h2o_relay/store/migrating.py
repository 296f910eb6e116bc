"""Bringing a database to the newest schema, by Alembic, in one transaction."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from ..errors import StoreError
from .tables import SCHEMA

LOCK = 0x68326F  # "h2o", which no other program should use as the number of a lock
MIGRATIONS = Path(__file__).parent / "migrations"

log = logging.getLogger(__name__)

_alembic = threading.Lock()  # Alembic keeps what it is doing in globals of the process


def migrate(connection: Connection, shown: str) -> None:
    """Create or change the tables, within the transaction that is open on `connection`.

    On SQLite that transaction keeps other processes out, on PostgreSQL a lock does: whoever comes
    second finds it done. Raises StoreError for a schema that is newer than this program.
    """
    found = schema_of(connection)
    if found == SCHEMA:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        found = schema_of(connection)
        if found == SCHEMA:
            return
    from alembic import command  # most starts need none of it
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        ScriptDirectory.from_config(config).get_revision(found or "base")
    except CommandError:
        raise StoreError(
            f"the store ({shown}) was written by a newer h2o relay: its schema is {found}, and "
            f"this one knows up to {SCHEMA}; update h2o relay, or name another store"
        ) from None
    with _alembic:
        command.upgrade(config, "head")
    log.info("the store (%s) has schema %s now", shown, SCHEMA)


def schema_of(connection: Connection) -> str | None:
    """The revision that a database is at; None for one without our tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
