"""What a store's file may become while a store is open: what it confirms is in the file that is
there by its name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from h2o_relay.errors import StoreError
from h2o_relay.store import AddedModels, Store

from .trouble import deleted, movable, replaced

ENTRY = {"inference_server": "echo"}


async def ids(path: Path) -> list[str]:
    """As another process finds them."""
    async with Store(f"sqlite:///{path}") as other:
        return [id for id, _ in await AddedModels(other).all()]


async def test_a_file_that_was_deleted_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "relay.db"
    async with Store(f"sqlite:///{path}") as store:
        models = AddedModels(store)
        await models.put("one", ENTRY)
        deleted(path)
        await models.put("two", ENTRY)
        assert await ids(path) == ["two"]
        assert [id for id, _ in await models.all()] == ["two"]
    assert "another file now" in caplog.text


async def test_a_file_that_another_has_taken_the_place_of(tmp_path: Path) -> None:
    path, backup = tmp_path / "relay.db", tmp_path / "backup.db"
    async with Store(f"sqlite:///{backup}") as store:
        await AddedModels(store).put("old", ENTRY)
    async with Store(f"sqlite:///{path}") as store:
        models = AddedModels(store)
        await models.put("one", ENTRY)
        deleted(path)
        backup.rename(path)
        await models.put("two", ENTRY)
        assert await ids(path) == ["old", "two"]


async def test_a_folder_that_is_gone_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path = folder / "relay.db"
    movable(folder)
    async with Store(f"sqlite:///{path}") as store:
        models = AddedModels(store)
        await models.put("one", ENTRY)
        with replaced(folder):
            for _ in range(2):
                with pytest.raises(StoreError):
                    await models.put("two", ENTRY)
        await models.put("three", ENTRY)
        assert await ids(path) == ["one", "three"]
