"""The databases that tests of the store run on.

A fixture `url` with `params=DATABASES` enters `fresh(request.param, tmp_path)` and yields what it
gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import postgres

DATABASES = ("sqlite", "postgresql")


@contextmanager
def fresh(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of this kind. Skips where there is none of it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/relay.db"
        return
    postgres.needed()
    with postgres.database() as url:
        yield url
