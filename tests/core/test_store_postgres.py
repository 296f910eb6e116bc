"""The schema on PostgreSQL: made whole, the same as the tables, and safe from newer programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import fresh
from sqlalchemy import text

from h2o_relay.errors import StoreError
from h2o_relay.store import AddedModels, Store, describe, migrating, tables
from h2o_relay.store.engine import open_engine, read_url


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with fresh("postgresql", tmp_path) as found:
        yield found


def test_migrations_make_what_the_tables_say(url: str) -> None:
    engine = open_engine(read_url(url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, tables.metadata) == []
            assert context.get_current_revision() == tables.SCHEMA
    finally:
        engine.dispose()


async def test_what_is_stored_is_there_after_the_next_start(url: str) -> None:
    async with Store(url) as store:
        await AddedModels(store).put("a", {"base_model": "Größe"})
    async with Store(url) as store:
        assert await AddedModels(store).all() == [("a", {"base_model": "Größe"})]


async def test_a_newer_schema_is_not_touched(url: str) -> None:
    async with Store(url) as store:
        newer = text("UPDATE alembic_version SET version_num = '9999'")
        await store.run(lambda session: session.execute(newer) and None)
    with pytest.raises(StoreError, match="written by a newer h2o relay: its schema is 9999"):
        await Store(url).__aenter__()


async def test_a_migration_that_fails_changes_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    folder = tmp_path / "next"
    shutil.copytree(migrating.MIGRATIONS, folder)
    (folder / "versions" / "9999_next.py").write_text(
        '"""Next."""\nfrom alembic import op\n'
        f'revision = "9999"\ndown_revision = "{tables.SCHEMA}"\n'
        'def upgrade() -> None:\n    op.execute("DROP TABLE votes")\n    op.execute("nonsense")\n'
    )
    async with Store(url):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "MIGRATIONS", folder)
        patch.setattr(migrating, "SCHEMA", "9999")
        with pytest.raises(StoreError, match="syntax error"):
            await Store(url).__aenter__()
    async with Store(url) as store:
        count = "SELECT count(*) FROM votes"
        assert await store.run(lambda session: session.execute(text(count)).scalar()) == 0


async def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    url = f"postgresql+psycopg://me:SECRET@/relay?host={tmp_path}"
    with pytest.raises(StoreError) as caught:
        await Store(url).__aenter__()
    assert "cannot be opened" in caught.value.message
    assert "\n" not in caught.value.message
    assert "SECRET" not in f"{caught.value.message} {describe(url)}"
