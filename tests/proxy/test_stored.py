"""The models that were added: a store that does not open holds nobody up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from h2o_relay import store
from h2o_relay.errors import StoreError
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.stored import NOT_KEPT, stored_models


async def test_what_was_put_is_there_in_the_next_run(tmp_path: Path) -> None:
    settings = quick(save_dir=str(tmp_path))
    async with stored_models(settings) as stored:
        await stored.put("one", {"inference_server": "echo"})
        await stored.put("two", {"inference_server": "echo"})
        await stored.delete("one")
    async with stored_models(settings) as stored:
        assert list(await stored.all()) == [("two", {"inference_server": "echo"})]


@pytest.mark.parametrize("error", [ImportError("x"), StoreError("x"), RuntimeError("x")])
async def test_a_store_that_does_not_open_keeps_nothing_and_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(store, "Store", fail)
    async with stored_models(quick()) as stored, asyncio.timeout(10):
        await stored.put("one", {"inference_server": "echo"})
        assert list(await stored.all()) == []
    assert NOT_KEPT in caplog.text
