"""Noticing that a file has changed: written in place, replaced, gone and back."""

# ruff: noqa: ASYNC240, nobody is held up by the files of a test

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from h2o_relay.config import read_config
from h2o_relay.testing.upstream import until
from h2o_relay.watching import Mark, watch

EVERY, SETTLED, SOON = 0.02, 0.05, 3.0


@contextlib.asynccontextmanager
async def watching(path: Path, known: Mark | None = None) -> AsyncIterator[list[str]]:
    """What the file said each time that a change was told."""
    told: list[str] = []

    async def changed() -> None:
        told.append(path.read_text())

    task = asyncio.create_task(watch(str(path), changed, every=EVERY, settled=SETTLED, known=known))
    await asyncio.sleep(0)
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "h2o.yaml"
    path.write_text("one")
    return path


async def test_nothing_is_told_while_nothing_changes(file: Path) -> None:
    async with watching(file) as told:
        file.read_text()
        await asyncio.sleep(10 * EVERY)
        assert told == []


async def test_a_change_between_reading_and_watching(file: Path) -> None:
    read = read_config(file_of(file, "{}"), {})
    file_of(file, "models: []")
    async with watching(file, read.mark) as told:
        await until(lambda: told == ["models: []"], within=SOON)
    async with watching(file, read_config(file, {}).mark) as told:
        await asyncio.sleep(10 * EVERY)
        assert told == []


def file_of(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def test_a_file_that_is_written_in_place(file: Path) -> None:
    async with watching(file) as told:
        file.write_text("other")
        await until(lambda: told == ["other"], within=SOON)
        file.write_text("third")
        await until(lambda: told == ["other", "third"], within=SOON)


async def test_the_same_length_is_a_change_too(file: Path) -> None:
    async with watching(file) as told:
        file.write_text("two")
        await until(lambda: told == ["two"], within=SOON)


async def test_another_file_in_its_place(file: Path) -> None:
    """As editors do it; with the size and the times of the old one, as `mv` may leave them."""
    times = file.stat()
    fresh = file.with_suffix(".new")
    fresh.write_text("two")
    os.utime(fresh, ns=(times.st_atime_ns, times.st_mtime_ns))
    async with watching(file) as told:
        fresh.replace(file)
        await until(lambda: told == ["two"], within=SOON)


async def test_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """As Kubernetes changes the files of a mounted ConfigMap."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "h2o.yaml"
    link.symlink_to("one")
    async with watching(link) as told:
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").replace(link)
        await until(lambda: told == ["two"], within=SOON)


async def test_a_file_that_is_gone_is_waited_for(file: Path) -> None:
    async with watching(file) as told:
        file.unlink()
        await asyncio.sleep(5 * EVERY)
        assert told == []
        file.write_text("back")
        await until(lambda: told == ["back"], within=SOON)


async def test_a_file_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "h2o.yaml"
    async with watching(path) as told:
        path.write_text("now")
        await until(lambda: told == ["now"], within=SOON)


async def test_who_writes_for_a_while_is_told_once(file: Path) -> None:
    async with watching(file) as told:
        for number in range(12):
            file.write_text("x" * (number + 10))
            await asyncio.sleep(SETTLED / 5)
        await until(lambda: told, within=SOON)
        await asyncio.sleep(5 * SETTLED)
        assert told[-1] == "x" * 21
        assert len(told) <= 3  # one, if this machine does not stall


async def test_what_changes_while_a_change_is_told_is_told_next(file: Path) -> None:
    told: list[str] = []

    async def changed() -> None:
        told.append(file.read_text())
        if len(told) == 1:
            file.write_text("second")
            await asyncio.sleep(3 * EVERY)

    task = asyncio.create_task(watch(str(file), changed, every=EVERY, settled=SETTLED))
    await asyncio.sleep(0)
    file.write_text("first")
    try:
        await until(lambda: told == ["first", "second"], within=SOON)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_home_folder_may_be_written_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    told = asyncio.Event()

    async def changed() -> None:
        told.set()

    task = asyncio.create_task(watch("~/h2o.yaml", changed, every=EVERY, settled=SETTLED))
    await asyncio.sleep(0)
    (tmp_path / "h2o.yaml").write_text("now")
    try:
        async with asyncio.timeout(SOON):
            await told.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
