"""The tables, as the newest migration leaves them. Times are Unix times, JSON is kept as text."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, MetaData, String, Table, Text

SCHEMA = "0001"
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
