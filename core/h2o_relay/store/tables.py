"""The tables, as the newest migration leaves them. Times are Unix times, JSON is kept as text."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

SCHEMA = "0003"
"""The newest revision in `migrations/versions`: a store at it is opened without Alembic."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Lists read the first columns and searches the text. What is large comes last: SQLite reads a row
# only as far as the last column that is asked for.
conversations = Table(
    "conversations",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("title", Text, nullable=False),
    Column("folded_title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("messages", Text, nullable=False),
)
Index(None, conversations.c.owner, conversations.c.updated)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("password", String(255), nullable=False),
    Column("created", Double, nullable=False),
)

added_models = Table(
    "added_models",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("created", Double, nullable=False),
    Column("entry", Text, nullable=False),
)

votes = Table(
    "votes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("time", Double, nullable=False),
    Column("models", Text, nullable=False),
    Column("winner", Text),
    Column("conversation", String(64)),
    Column("prompt", Text, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("last4", String(4), nullable=False),
    Column("old_digest", String(64)),
    Column("old_until", Double),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Column("used", Double),
    Column("allowance", Text, nullable=False),
)

# One row.
key_state = Table(
    "key_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("secret", String(64), nullable=False),
)

# One row for each request. `row` is made before it is stored, so that what is stored again after a
# failure is not counted twice. `day` is in days since 1970, `bucket` a logarithm of `seconds`.
usage = Table(
    "usage",
    metadata,
    Column("row", String(40), primary_key=True),
    Column("at", Double, nullable=False),
    Column("day", Integer, nullable=False),
    Column("key", String(255), nullable=False),
    Column("model", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("plugin", Text, nullable=False),
    Column("server", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("method", String(32), nullable=False),
    Column("route", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("aborted", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cached_tokens", Integer),
    Column("estimated", Boolean, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("queued", Double, nullable=False),
    Column("first", Double),
    Column("overhead", Double, nullable=False),
    Column("cost", Double),
    Column("bucket", Integer, nullable=False),
)
Index(None, usage.c.at)
Index(None, usage.c.key, usage.c.at)

# What a day's requests have cost that are deleted, for budgets that are longer.
usage_trimmed = Table(
    "usage_trimmed",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("cost", Double, nullable=False),
)
