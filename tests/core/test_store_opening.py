"""Which databases a store opens, what it makes of them, and what it says where it cannot."""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config, main
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from h2o_relay.errors import StoreError
from h2o_relay.settings import Settings, store_url
from h2o_relay.store import (
    Accounts,
    AddedModels,
    Conversations,
    Store,
    Vote,
    Votes,
    describe,
    migrating,
    tables,
)  # fmt: skip
from h2o_relay.store.engine import open_engine, read_url

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "tests" / "data" / "store_0001.sql"
NOBODY = 65534
KEPT = "conversations, added models, users and votes are kept in "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def opened(url: str) -> None:
    """The store is opened and closed again."""

    async def run() -> None:
        async with Store(url):
            pass

    asyncio.run(run())


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught:
        opened(url)
    assert caught.value.code == "store_error"
    assert "\n" not in caught.value.message
    return caught.value.message


def plain(path: Path, *statements: str) -> list[Any]:
    """What SQLite's own module finds."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return [connection.execute(statement).fetchall() for statement in statements]
    finally:
        connection.close()


# Where.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////data/relay.db", "/data/relay.db"),
        ("sqlite:////data/a%20b%25.db?timeout=3", "/data/a b%.db"),
        ("sqlite://", "memory, until the relay stops"),
        ("postgresql+psycopg://me:SECRET@host:5/name", "postgresql+psycopg://me:***@host:5/name"),
        ("postgresql://host/name?password=SECRET", "postgresql://host/name"),
    ],
)
def test_a_line_says_where(url: str, shown: str) -> None:
    assert describe(url) == KEPT + shown


def test_a_relative_path_is_shown_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert describe("sqlite:///x/relay.db") == f"{KEPT}{tmp_path}/x/relay.db"


@pytest.mark.parametrize("name", ["plain", "with blank", "Größe", "a%20b", "what?", "a#b", "a+b&c"])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    url = store_url(Settings(save_dir=str(tmp_path / name / "deep")))
    opened(url)
    assert (tmp_path / name / "deep" / "relay.db").is_file()
    assert describe(url) == f"{KEPT}{tmp_path}/{name}/deep/relay.db"


async def test_folder_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    before = os.umask(0)
    try:
        async with Store(f"sqlite:///{folder}/relay.db") as store:
            assert await Conversations(store).create("o")
            modes = {item.name: item.stat().st_mode & 0o777 for item in folder.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"relay.db": 0o600, "relay.db-wal": 0o600, "relay.db-shm": 0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_there_keeps_its_permissions(tmp_path: Path, path: Path, url: str) -> None:
    tmp_path.chmod(0o750)
    path.touch()
    path.chmod(0o640)
    opened(url)
    assert tmp_path.stat().st_mode & 0o777 == 0o750
    assert path.stat().st_mode & 0o777 == 0o640


async def test_in_memory() -> None:
    async with Store("sqlite://") as store:
        votes = Votes(store)
        await votes.add("o", Vote(("a",), "a", "p", None, 1.0))
        assert len(await votes.all()) == 1


# What cannot be opened.


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("relay.db", "the store's URL cannot be read; write it as sqlite:////folder/relay.db or"),
        ("postgresql://me:SECRET@host:port/x", "the store's URL cannot be read"),
        ("", "the store's URL cannot be read"),
        ("nosuch://me:SECRET@host/x", "no database of the kind 'nosuch' is known"),
        ("sqlite+nosuch:////x.db", "no database of the kind 'sqlite+nosuch' is known"),
        ("sqlite:////dev/null/relay.db", "(/dev/null/relay.db) cannot be opened: /dev/null: "),
        ("sqlite:////", "cannot be opened: "),
    ],
)
def test_urls_that_name_nothing(url: str, words: str) -> None:
    said = refusal(url)
    assert words in said
    assert "SECRET" not in said


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refusal("postgresql+psycopg://me:SECRET@host/x")
    assert "(postgresql+psycopg://me:***@host/x) needs the Python package 'psycopg'" in said


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+asyncpg"])
def test_a_driver_for_asyncio(driver: str) -> None:
    said = refusal(f"{driver}:////x.db")
    assert said == f"'{driver}' is a driver for asyncio; name another one"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions mean nothing to root, who is nobody here for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can get to, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written(public: Path) -> None:
    opened(f"sqlite:///{public}/other/relay.db")
    public.chmod(0o555)
    with unprivileged():
        said = refusal(f"sqlite:///{public}/relay.db")
        deep = refusal(f"sqlite:///{public}/made/relay.db")
    assert said == (
        f"the store ({public}/relay.db) cannot be opened: {public}/relay.db: Permission denied"
    )
    assert deep.endswith(f"cannot be opened: {public}/made: Permission denied")
    assert [item.name for item in public.iterdir()] == ["other"]


def test_a_file_that_cannot_be_written(public: Path) -> None:
    opened(f"sqlite:///{public}/relay.db")
    (public / "relay.db").chmod(0o444)
    public.chmod(0o555)
    with unprivileged():
        said = refusal(f"sqlite:///{public}/relay.db")
    assert said.startswith(f"the store ({public}/relay.db) cannot be opened: ")
    assert "readonly" in said or "unable to open" in said


def test_a_file_that_is_no_database(path: Path, url: str) -> None:
    path.write_bytes(b"These are not the tables you are looking for." * 100)
    said = refusal(url)
    assert said == f"the store ({path}) cannot be opened: file is not a database"
    assert path.read_bytes().startswith(b"These"), "it is left as it was"


def damage(path: Path) -> None:
    """Overwrite the beginning of every page but the first two."""
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)


async def test_a_damaged_database(path: Path, url: str) -> None:
    async with Store(url) as store:
        for number in range(100):
            await Conversations(store).create("o", title="x" * 200, id=f"{number}")
    damage(path)
    with pytest.raises(StoreError, match="malformed"):
        async with Store(url) as store:
            await Conversations(store).list("o")


def test_a_folder_in_place_of_the_file(path: Path, url: str) -> None:
    path.mkdir()
    assert "unable to open database file" in refusal(url)


def test_the_tables_of_another_program(path: Path, url: str) -> None:
    plain(path, "CREATE TABLE votes (x)", "INSERT INTO votes VALUES (1)")
    assert "table votes already exists" in refusal(url)
    [rows, names] = plain(path, "SELECT * FROM votes", "SELECT name FROM sqlite_master")
    assert (rows, names) == ([(1,)], [("votes",)]), "nothing of ours is left in it"


# Schemas.


def test_the_tables_are_those_of_the_migrations(url: str) -> None:
    engine = open_engine(read_url(url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, tables.metadata) == []
            assert context.get_current_revision() == tables.SCHEMA
            indexes = inspect(connection).get_indexes("conversations")
    finally:
        engine.dispose()
    assert [index["name"] for index in indexes] == ["ix_conversations_owner_updated"]


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrating.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.SCHEMA]


def make_first(path: Path) -> None:
    """A store as the first release left it."""
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text(encoding="utf-8"))
    connection.close()


def holds(url: str) -> list[Any]:
    async def read() -> list[Any]:
        async with Store(url) as store:
            return await all_of(store)

    return asyncio.run(read())


async def all_of(store: Store) -> list[Any]:
    conversation = await Conversations(store).get("owner", "c1")
    return [
        (conversation.title, conversation.kind, conversation.updated, conversation.settings),
        conversation.messages,
        [found.id for found in await Conversations(store).list("owner", search="GRÖSSE")],
        await Accounts(store).verify("Ada", "lovelace") is not None,
        await AddedModels(store).all(),
        await Votes(store).all(),
    ]


FIRST_HOLDS = [
    ("Größe", "chat", 20.5, {"temperature": 0.5}),
    [{"role": "user", "content": "Wie groß?"}],
    ["c1"],
    True,
    [("m1", {"base_model": "b", "inference_server": "vllm:host:1"})],
    [Vote(("a", "b"), "a", "Why?", "c1", 30.5), Vote(("a", "b"), None, "How?", None, 31.0)],
]


def test_a_store_of_the_first_release_is_read(path: Path, url: str) -> None:
    make_first(path)
    assert holds(url) == FIRST_HOLDS


NEXT = "9999"
SECOND = f'''
"""What comes next."""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{tables.SCHEMA}"

def upgrade() -> None:
    op.create_table("nexts", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("votes") as batch:
        batch.add_column(sa.Column("weight", sa.Double, nullable=False, server_default="1"))
    FAIL
'''


def second(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """The program that comes after this one."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(migrating.MIGRATIONS, folder)
    (folder / "versions" / "9999_next.py").write_text(SECOND.replace("FAIL", then))
    monkeypatch.setattr(migrating, "MIGRATIONS", folder)
    monkeypatch.setattr(migrating, "SCHEMA", NEXT)


async def test_an_upgrade_keeps_what_is_there(
    path: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_first(path)
    second(tmp_path / "10%", monkeypatch, "")
    async with Store(url) as store:
        assert await all_of(store) == FIRST_HOLDS
        assert await store.run(lambda s: s.execute(text("SELECT weight FROM votes")).scalar()) == 1
    [version] = plain(path, "SELECT version_num FROM alembic_version")
    assert version == [(NEXT,)]


def test_an_upgrade_that_fails_changes_nothing(
    path: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_first(path)
    with monkeypatch.context() as patch:
        second(tmp_path / "next", patch, 'op.execute("nonsense")')
        assert "syntax error" in refusal(url)
    names, version = plain(
        path,
        "SELECT name FROM sqlite_master WHERE name IN ('keys', 'nexts')",
        "SELECT * FROM alembic_version",
    )
    assert (names, version) == ([], [("0001",)])
    assert holds(url) == FIRST_HOLDS


def test_a_newer_schema_is_not_touched(
    path: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        second(tmp_path / "next", patch, "")
        opened(url)
    assert refusal(url) == (
        f"the store ({path}) was written by a newer h2o relay: its schema is {NEXT}, and this one "
        f"knows up to {tables.SCHEMA}; update h2o relay, or name another store"
    )


def test_developers_have_alembics_commands(path: Path, url: str) -> None:
    words = ["-c", str(ROOT / "pyproject.toml"), "-x", f"url={url}"]
    main([*words, "upgrade", "head"])
    main([*words, "check"])
    [version] = plain(path, "SELECT version_num FROM alembic_version")
    assert version == [(tables.SCHEMA,)]
    with pytest.raises(SystemExit, match="name a database"):
        main([*words[:2], "upgrade", "head"])


def test_a_new_migration_can_be_read(tmp_path: Path) -> None:
    """The template makes what Alembic runs and the linters take."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrating.MIGRATIONS, folder)
    config = Config()
    config.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(config)
    script.generate_revision(NEXT, "and on", head="head")
    made = folder / "versions" / "9999_and_on.py"
    assert made.read_text().startswith('"""And on."""\n')
    assert ScriptDirectory.from_config(config).get_heads() == [NEXT]


# What it costs those who do not use it.


def test_only_the_store_imports_sqlalchemy() -> None:
    ours = ROOT / "core" / "h2o_relay" / "store"
    files = [path for name in ("core", "proxy", "ui") for path in (ROOT / name).rglob("*.py")]
    users = {path for path in files if {"sqlalchemy", "alembic"} & imported(path)}
    assert users
    assert not [path for path in users if ours not in path.parents]


def imported(path: Path) -> set[str]:
    """The packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found |= {name.partition(".")[0] for name in names}
    return found


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_loads_none_of_it(words: list[str]) -> None:
    code = (
        "import sys; from h2o_relay.cli import main; main(sys.argv[1:]); "
        "print([n for n in ('sqlalchemy', 'alembic', 'h2o_relay.store') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=40
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_store_that_is_up_to_date_is_opened_without_alembic(url: str) -> None:
    opened(url)
    code = (
        "import asyncio, sys; from h2o_relay.store import Store\n"
        "async def main():\n"
        "    async with Store(sys.argv[1]): print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_migrations_are_in_the_wheel() -> None:
    from hatchling.builders.wheel import WheelBuilder

    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    versions = (migrating.MIGRATIONS / "versions").glob("*.py")
    wanted = {f"h2o_relay/store/migrations/versions/{path.name}" for path in versions}
    assert wanted
    assert wanted | {"h2o_relay/store/migrations/env.py"} <= files
