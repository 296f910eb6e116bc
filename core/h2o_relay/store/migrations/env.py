"""What Alembic runs for each of its commands.

The store hands over its connection. A developer names a database: `alembic -x url=sqlite:///x.db`.
"""

from alembic import context
from sqlalchemy import Connection, create_engine

from h2o_relay.store.tables import metadata


def run(connection: Connection) -> None:
    # SQLite cannot alter most of a table: a batch makes a new one and copies.
    batch = connection.dialect.name == "sqlite"
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=batch)
    with context.begin_transaction():
        context.run_migrations()


def run_on(url: str | None) -> None:
    if not url:
        raise SystemExit("name a database to work on: alembic -x url=sqlite:///x.db ...")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            run(connection)
    finally:
        engine.dispose()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    run_on(context.get_x_argument(as_dictionary=True).get("url"))
