"""What tests of the command line and of the store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from databases import DATABASES, fresh

from h2o_relay import settings as table
from h2o_relay.cli import main
from h2o_relay.settings import Settings
from h2o_relay.store import Store
from h2o_relay.testing import echo

from .example_plugin import Said, metadata


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from outside."""
    for item in fields(Settings):
        for name in table.env_names(item.name):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def echo_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The echo plugin counts as installed, and is what is served by default: no test downloads the
    embedded model.
    """
    points = "[h2o_relay]\necho = h2o_relay.testing.echo\n[h2o_relay.prefixes]\necho = echo\n"
    site = tmp_path / "plugins"
    metadata(site, "h2o-relay-echo-test", points)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("H2O_DEFAULT_SERVER", "echo")
    echo.journal.clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `h2o` in this process: exit code, stdout, stderr."""

    def run(*words: str | Path) -> Said:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database's, of each kind that can run here."""
    with fresh(request.param, tmp_path) as found:
        yield found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with Store(url) as opened:
        yield opened
