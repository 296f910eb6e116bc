"""What is to be served, by the command line, the file and what was added; one change at a time."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.administration import Administration
from h2o_relay.applying import Wanted
from h2o_relay.configuration import Configuration, all_specs, read, spec_of
from h2o_relay.errors import InvalidRequest, RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until

from . import plain
from .pools_kit import SOON, Backend, pool
from .pools_kit import read as ask

pytestmark = pytest.mark.usefixtures("leaves_nothing")


class Served:
    """A kernel with a configuration file over one server that answers for every name."""

    def __init__(self, kernel: Kernel, configuration: Configuration, path: Path, url: str) -> None:
        self.kernel, self.configuration, self.path, self.url = kernel, configuration, path, url

    def write(self, *names: str, more: str = "") -> None:
        self.path.write_text(text_of(self.url, *names) + more)

    async def reload(self, *names: str, more: str = "") -> Any:
        self.write(*names, more=more)
        return await self.configuration.reload()

    @property
    def names(self) -> list[str]:
        return list(self.kernel.snapshot.routes)

    def wanted(self, id: str, name: str) -> Wanted:
        admin = Administration(self.kernel, configuration=self.configuration)
        return admin._wanted({"inference_server": f"plain:{self.url}/v1", "base_model": name}, id)


def text_of(url: str, *names: str) -> str:
    entries = [f"  - inference_server: plain:{url}/v1\n    base_model: {name}\n" for name in names]
    return "models:\n" + "".join(entries) if entries else "models: []\n"


@contextlib.asynccontextmanager
async def served(
    tmp_path: Path, *names: str, given: tuple[str, ...] = (), pools: Any = (), more: str = "",
    **settings: Any,
) -> AsyncIterator[Served]:  # fmt: skip
    path, plugins = tmp_path / "h2o.yaml", plain.plugins()
    async with ScriptedUpstream(Backend("any")) as upstream:
        path.write_text(text_of(upstream.url, *names) + more)
        config = read(str(path), plugins)
        line = [f"plain:{upstream.url}/v1" for _ in given]
        specs = [
            ServerSpec(server=server, base_model=name).parsed(plugins.parse)
            for server, name in zip(line, given, strict=True)
        ]
        made = quick(**settings)
        every = all_specs(specs, config, made, plugins)
        async with Kernel(made, every, plugins, [*pools, *config.pools]) as kernel:
            await kernel.settled(SOON)
            configuration = Configuration(kernel, specs, pools, config)
            yield Served(kernel, configuration, path, upstream.url)
            await until(lambda: not kernel._leaving, within=SOON)


async def test_only_what_differs_is_opened(tmp_path: Path) -> None:
    async with served(tmp_path, "a", "b") as this:
        a, b = this.kernel.entries
        change = await this.reload("a", "b")
        assert (bool(change), change.kept) == (False, 2)
        change = await this.reload("b", "c")
        assert (len(change.added), len(change.removed), change.kept) == (1, 1, 1)
        assert this.names == ["b", "c"]
        assert this.kernel.entries[0] is b
        assert a not in this.kernel.entries
        assert await ask(this.kernel, "c") == "any"


async def test_the_command_line_comes_first_and_stays(tmp_path: Path) -> None:
    async with served(tmp_path, "a", given=("m",)) as this:
        assert this.names == ["m", "a"]
        first = this.kernel.entries[0]
        await this.reload("m", "b")
        assert this.names == ["m", "m_1", "b"]
        assert this.kernel.entries[0] is first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "line 2"),
        ("modles: []\n", "models"),
        ("models:\n  - inference_server: 'plain:'\n", "plain"),
        ("settings:\n  openai_port: many\n", "openai_port"),
        ("pools:\n  p:\n    members: []\n", "members"),
    ],
)
async def test_a_bad_file_changes_nothing(tmp_path: Path, text: str, message: str) -> None:
    async with served(tmp_path, "a", more="pools:\n  p:\n    members: [a]\n") as this:
        entries, config = this.kernel.entries, this.configuration.config
        this.path.write_text(text)
        with pytest.raises(InvalidRequest, match=message):
            await this.configuration.reload()
        assert this.kernel.entries == entries
        assert this.configuration.config is config
        assert await ask(this.kernel, "p") == "any"
        assert (await this.reload("b")).added, "the next good one is served"


async def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, "a") as this:
        this.path.unlink()
        with pytest.raises(InvalidRequest):
            await this.configuration.reload()
        assert this.names == ["a"]


async def test_without_a_file() -> None:
    async with Kernel(quick(), [], plain.plugins()) as kernel:
        with pytest.raises(InvalidRequest, match="--config"):
            await Configuration(kernel).reload()


async def test_what_was_added_outlives_a_reload(tmp_path: Path) -> None:
    async with served(tmp_path, "a") as this:
        await this.configuration.put("x", this.wanted("x", "mine"))
        entry = this.kernel.entries[1]
        change = await this.reload("b")
        assert this.names == ["b", "mine"]
        assert this.kernel.entries[1] is entry
        assert (len(change.added), len(change.removed), change.kept) == (1, 1, 1)
        await this.configuration.put("x", this.wanted("x", "other"))
        assert this.names == ["b", "other"]
        assert this.kernel.entries[1].id == "x"
        await this.configuration.drop("x")
        await this.configuration.drop("x")
        assert this.names == ["b"]


async def test_what_cannot_be_added_is_not_kept(tmp_path: Path) -> None:
    async with served(tmp_path, "a", visible_models="a") as this:
        this.path.write_text(text_of(this.url, "b"))
        with pytest.raises(RelayError, match="no entry is called 'a'"):
            await this.configuration.reload()
        assert this.names == ["a"]
        this.configuration._given = tuple(
            all_specs([], read(str(this.path), this.kernel.plugins), quick(), plain.plugins())
        )
        this.configuration.config = None
        with pytest.raises(RelayError):
            await this.configuration.put("x", this.wanted("x", "mine"))
        assert this.configuration.added == {}
        with pytest.raises(RelayError):
            await this.configuration.put_pool(pool("p", "b"))
        assert this.configuration.added_pools == {}


async def test_changes_from_all_sides_at_once(tmp_path: Path) -> None:
    """One at a time: what is served in the end is what all of them said."""
    async with served(tmp_path, "a") as this:
        this.write("a", "b")
        await asyncio.gather(
            *(this.configuration.put(f"x{n}", this.wanted(f"x{n}", f"m{n}")) for n in range(5)),
            *(this.configuration.reload() for _ in range(3)),
            *(this.configuration.put(f"y{n}", this.wanted(f"y{n}", f"n{n}")) for n in range(5)),
        )
        await asyncio.gather(
            *(this.configuration.drop(f"x{n}") for n in range(5)), this.configuration.reload()
        )
        assert this.names == ["a", "b", *(f"n{n}" for n in range(5))]


async def test_pools_of_the_command_line_go_before_the_files(tmp_path: Path) -> None:
    text = "pools:\n  p:\n    members: [b]\n  q:\n    members: [a]\n"
    async with served(tmp_path, "a", "b", pools=(pool("p", "a"),), more=text) as this:
        found = this.kernel.snapshot.pools
        assert [member.name for member in found["p"].members] == ["a"]
        queue = found["p"]
        change = await this.reload("a", "b", more=text)
        assert change.pools == ()
        assert this.kernel.snapshot.pools["p"] is queue
        change = await this.reload("a", "b")
        assert change.pools == ("q",)
        assert list(this.kernel.snapshot.pools) == ["p"]


async def test_settings_wait_for_the_next_start(tmp_path: Path) -> None:
    async with served(tmp_path, "a") as this:
        change = await this.reload("a", more="settings:\n  retries: 5\n")
        assert not change
        assert change.notes == ("retries: settings are taken over at the next start",)
        assert (await this.reload("a", more="settings:\n  retries: 5\n")).notes == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"inference_server": "echo:a", "base_modl": "a"},
            r"unknown key 'base_modl'; did you mean 'base_model'\? \(the keys are .*, top_p, .*\)$",
        ),
        ({"inference_server": "echo:a", "max_seq_len": -1}, r"^max_seq_len"),
    ],
)
def test_a_mistake_in_an_entry_is_one_sentence(entry: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec_of(entry, quick(), Plugins.discover())
    assert re.search(message, caught.value.message)
    assert "\n" not in caught.value.message


async def test_prices_are_those_of_the_file_as_it_is(tmp_path: Path) -> None:
    def costs(amount: int) -> str:
        return f"prices: {{models: {{a: {{input: {amount}, output: 0}}}}}}\n"

    async with served(tmp_path, "a", more=costs(1)) as relay:
        assert relay.configuration.prices.cost("a", "", 1_000_000, 0, 0) == 1
        change = await relay.reload("a", more=costs(2))
        assert change.notes == ("prices changed",)
        assert relay.configuration.prices.cost("a", "", 1_000_000, 0, 0) == 2
        with pytest.raises(InvalidRequest, match="is not a number from 0"):
            await relay.reload("a", more=costs(-1))
        assert relay.configuration.prices.cost("a", "", 1_000_000, 0, 0) == 2
        admin = Administration(relay.kernel, configuration=relay.configuration)
        assert "input: 2" in await admin.export()
        assert (await relay.reload("a", more=costs(2))).notes == ()
        await relay.reload("a")
        assert not relay.configuration.prices
