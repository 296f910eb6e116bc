"""`h2o config export`: what a relay serves, as a file that serves the same."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.administration import Administration
from h2o_relay.cli import main
from h2o_relay.config import parse_config, read_config
from h2o_relay.configuration import Configuration, all_specs
from h2o_relay.entry import entry_of
from h2o_relay.export import HEAD
from h2o_relay.kernel import Kernel
from h2o_relay.lock import configured
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.testing import echo
from h2o_relay.testing.scripts import json as answer
from h2o_relay.testing.settings import quick

from .identify_servers import Background
from .running_relay import ADMIN, KEY, Relay, Running

H2O = Callable[..., tuple[int, str, str]]
SECRET = "secret-canary-51f0"
ADDED = {"inference_server": "echo:late", "base_model": "late", "h2ogpt_key": SECRET,
         "temperature": 0.5, "stop": ["###"], "visible": False}  # fmt: skip
POOL = PoolSpec(name="both", members=("a", 1), strategy="sticky")
NOTE = "h2o: note: secrets are left out, or masked as ***; --secrets writes them\n"
FILE = f"""\
settings:
  api_key: {SECRET}
  idle_timeout: 9
models:
  - inference_server: echo:from-file
    base_model: C
    h2ogpt_key: {SECRET}
pools:
  of-file:
    members: [2, C]
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_settings: None) -> None:
    monkeypatch.delenv("H2O_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Two servers of the command line, a pool of them, and a model that was added."""
    with Running("echo:a", ("echo:b", "B"), pools=[POOL]) as found:
        found.call(found.admin.add(ADDED))
        yield found


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], relay: Relay) -> H2O:
    def run(*words: str, key: str = ADMIN) -> tuple[int, str, str]:
        options = () if "--url" in words else ("--url", relay.url, "--key", key)
        code = main(["config", "export", *words, *options])
        return code, *capsys.readouterr()

    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_with_its_secrets_it_serves_the_same(call: H2O, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    code, out, err = call("--secrets", str(path))
    assert (code, err) == (0, "")
    assert out == f"wrote {path}; next: h2o config check {path}; h2o run --config {path}\n"
    found = read_config(path, {})
    given = [{"inference_server": "echo:a"}, {"inference_server": "echo:b", "base_model": "B"}]
    assert list(found.entries) == [*given, ADDED]
    assert found.pools == (POOL,)
    assert mode(path) == 0o600


def test_without_them_it_says_so(call: H2O, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        code, _, err = call("new.yaml")
    finally:
        os.umask(old)
    text = (tmp_path / "new.yaml").read_text()
    assert (code, err) == (0, NOTE)
    assert text.startswith(f"{HEAD}\n# *** stands for a key or a password.\nmodels:\n")
    assert SECRET not in text
    assert read_config(tmp_path / "new.yaml", {}).entries[2] == {**ADDED, "h2ogpt_key": "***"}
    assert mode(tmp_path / "new.yaml") == 0o644


@pytest.mark.parametrize("words", [(), ("-",)])
def test_without_a_file_it_is_printed(call: H2O, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, out, err = call("--secrets", *words)
    assert (code, err) == (0, "")
    assert parse_config(out, {}).entries[2] == ADDED
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_written_over(call: H2O, tmp_path: Path, link: bool) -> None:
    path = tmp_path / "h2o.yaml"
    if link:
        path.symlink_to(tmp_path / "elsewhere.yaml")
    else:
        path.write_text("models: []\n")
    code, out, err = call("--secrets", "h2o.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "h2o: h2o.yaml is there already", "name another file; nothing is written over"
    ]  # fmt: skip
    assert not (tmp_path / "elsewhere.yaml").exists()
    assert link or path.read_text() == "models: []\n"


def test_a_place_that_cannot_be_written(call: H2O, tmp_path: Path) -> None:
    code, out, err = call("missing/h2o.yaml")
    assert (code, out) == (1, "")
    assert err == "h2o: cannot write missing/h2o.yaml: No such file or directory\n"


@pytest.mark.parametrize("key", ["wrong", KEY])
def test_it_is_for_those_with_the_admin_key(
    call: H2O, relay: Relay, tmp_path: Path, key: str
) -> None:
    code, out, err = call("--secrets", "new.yaml", key=key)
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == (
        f"h2o: the relay at {relay.url} tells this only to who has its admin key"
    )
    assert not list(tmp_path.iterdir())


def test_without_a_relay_nothing_is_written(call: H2O, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code, out, err = call("new.yaml", "--url", url)
    assert (code, out) == (3, "")
    assert err.startswith(f"h2o: no relay answers at {url}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", [{"yaml": 1}, [], "x"])
def test_an_answer_of_another_kind_is_no_traceback(call: H2O, told: Any) -> None:
    with Background(answer(told)) as upstream:
        code, out, err = call("--url", upstream.url)
    assert (code, out) == (1, "")
    assert err == f"h2o: the relay at {upstream.url} tells it in a form that is not known here\n"


# Where the parts come from.


async def exported(secrets: bool, lock: str | None = None, text: str = FILE) -> str:
    """Of a relay with a command line, or a lock, and a file."""
    plugins = Plugins.of(echo=echo)
    chosen = quick(model_lock=lock)
    specs = configured(chosen, () if lock else ("echo:a", "echo:b")).specs
    given = [spec for one in specs if (spec := entry_of(plugins, one).spec)]
    config = parse_config(text, {})
    every = all_specs(given, config, chosen, plugins)
    async with Kernel(chosen, every, plugins, [POOL, *config.pools]) as kernel:
        configuration = Configuration(kernel, given, [POOL], config)
        return await Administration(kernel, configuration=configuration).export(secrets)


async def test_the_command_line_comes_before_the_file() -> None:
    """As it does in the relay, so that places in pools mean the same."""
    found, file = parse_config(await exported(secrets=True), {}), parse_config(FILE, {})
    given = ({"inference_server": "echo:a"}, {"inference_server": "echo:b"})
    assert found.entries == (*given, *file.entries)
    assert found.pools == (POOL, *file.pools)
    assert found.settings == file.settings == {"api_key": SECRET, "idle_timeout": 9.0}


async def test_settings_that_may_be_secret_are_left_out() -> None:
    text = await exported(secrets=False)
    assert SECRET not in text
    assert "# Settings that are left out: api_key.\n" in text
    assert parse_config(text, {}).settings == {"idle_timeout": 9.0}


async def test_where_there_is_no_secret_nothing_is_said_of_them() -> None:
    text = await exported(secrets=False, text="models:\n  - inference_server: echo:c\n")
    assert "#" not in text
    assert text == await exported(secrets=True, text="models:\n  - inference_server: echo:c\n")


async def test_a_lock_is_told_as_it_was_written() -> None:
    entries = [
        {"inference_server": "echo:a", "base_model": "A", "prompt_type": "llama2",
         "max_seq_len": 4096, "temperature": 0.5, "stop": ["x"]},
        {"inference_server": "echo:b", "display_name": "nice", "base_model": "B"},
    ]  # fmt: skip
    found = parse_config(await exported(secrets=True, lock=repr(entries)), {})
    assert list(found.entries[:2]) == entries


async def test_what_was_hidden_is_hidden() -> None:
    async with Kernel(quick(), ["echo:a"], Plugins.of(echo=echo)) as kernel:
        admin = Administration(kernel)
        await admin.change(kernel.entries[0].id, {"visible": False})
        [entry] = parse_config(await admin.export(True), {}).entries
    assert entry == {"inference_server": "echo:a", "visible": False}


async def test_what_cannot_be_read_any_more_is_not_served_and_not_told() -> None:
    class Kept:
        async def all(self) -> list[tuple[str, dict[str, Any]]]:
            return [("1", {"inference_server": "gone:x"}), ("2", {"inference_server": "echo:y"})]

        async def put(self, id: str, entry: Any) -> None: ...

        async def delete(self, id: str) -> None: ...

    async with Kernel(quick(), [], Plugins.of(echo=echo)) as kernel:
        admin = Administration(kernel, Kept())
        await admin.restore()
        found = parse_config(await admin.export(True), {})
    assert found.entries == ({"inference_server": "echo:y"},)


async def test_a_key_in_a_server_string_is_masked(plugins: Plugins) -> None:
    async with Kernel(quick(), [f"vllm:h:8000:/v1:{SECRET}"], plugins) as kernel:
        text = await Administration(kernel).export()
        [entry] = parse_config(text, {}).entries
        assert entry == {"inference_server": "vllm:h:8000:/v1:***"}
        assert text.startswith(HEAD)
        [entry] = parse_config(await Administration(kernel).export(True), {}).entries
        assert entry == {"inference_server": f"vllm:h:8000:/v1:{SECRET}"}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins.discover("vllm")
