"""Getting models from a hub: a small one of our own on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import InvalidRequest, UpstreamBadResponse, UpstreamUnreachable
from h2o_relay.types import Server
from h2o_relay_llama_cpp.store import local_models, models_dir

GGUF = b"GGUF" + bytes(range(1, 200)) * 50
COMMIT = "0" * 39 + "1"

Seen = list[tuple[int, int | None, str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_CACHE_DIR", str(tmp_path / "cache"))


def parse(text: str) -> Server:
    server = plugin.parse_server_string(text)
    assert server is not None
    return server


def silent(done: int, total: int | None, what: str) -> None:
    return None


class Hub(BaseHTTPRequestHandler):
    """The two requests that a download makes, as the hub's library describes them."""

    files = {
        "/owner/repo/resolve/main/sub/tiny.gguf": GGUF,
        "/owner/repo/resolve/main/slow.gguf": GGUF * 1000,
        "/owner/repo/resolve/main/page.gguf": b"<html>",
        "/owner/repo/resolve/main/big-00001-of-00002.gguf": GGUF + b"1",
        "/owner/repo/resolve/main/big-00002-of-00002.gguf": GGUF + b"2",
    }
    errors = {
        "repo": (404, "EntryNotFound"),
        "gated": (403, "GatedRepo"),
        "broken": (500, "Broken"),
    }
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path)
        if content is None:
            repo = self.path.split("/")[2]
            status, code = self.errors.get(repo, (404, "RepoNotFound"))
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and "slow" in self.path:
            self.wfile.write(content[: len(GGUF) * 500])
            self.rfile.read(1)  # until the other side has gone
        elif body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that the hub was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Hub,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_hub_file_is_fetched_once(hub: list[str]) -> None:
    seen: Seen = []
    server = parse("llama_cpp:hf:owner/repo/sub/tiny.gguf")
    path = await plugin.fetch(server, lambda *a: seen.append(a))
    assert path == models_dir() / "owner/repo/sub/tiny.gguf"
    assert path.read_bytes() == GGUF
    assert seen[-1] == (len(GGUF), len(GGUF), "downloading sub/tiny.gguf")
    assert [model.name for model in local_models()] == ["tiny"]
    count = len(hub)
    assert await plugin.fetch(server, silent) == path
    assert await plugin.fetch(parse("llama_cpp:tiny"), silent) == path
    assert len(hub) == count


async def test_all_parts_of_a_hub_model_are_fetched(hub: list[str]) -> None:
    server = parse("llama_cpp:hf:owner/repo/big-00001-of-00002.gguf")
    path = await plugin.fetch(server, silent)
    other = path.with_name("big-00002-of-00002.gguf")
    assert other.read_bytes() == GGUF + b"2"
    assert [(model.name, model.path) for model in local_models()] == [("big", path)]
    other.unlink()
    await plugin.fetch(server, silent)
    assert other.exists()


@pytest.mark.parametrize(
    ("place", "kind", "reason"),
    [
        ("owner/repo/none.gguf", InvalidRequest, "the repository has no such file"),
        ("owner/none/tiny.gguf", InvalidRequest, "there is no such repository, or it is private"),
        ("owner/gated/tiny.gguf", InvalidRequest, "its terms must be accepted"),
        ("owner/broken/tiny.gguf", UpstreamUnreachable, "the hub answered 500"),
        ("owner/repo/page.gguf", UpstreamBadResponse, "is not a GGUF file"),
    ],
)
async def test_what_the_hub_refuses_is_one_line(
    hub: list[str], place: str, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as caught:
        await plugin.fetch(parse(f"llama_cpp:hf:{place}"), silent)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(place)
    assert local_models() == []


async def test_a_cancelled_hub_download_ends_at_once(hub: list[str]) -> None:
    server = parse("llama_cpp:hf:owner/repo/slow.gguf")
    begun = asyncio.Event()
    task = asyncio.create_task(plugin.fetch(server, lambda *a: begun.set()))
    async with asyncio.timeout(20):
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert local_models() == []


async def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UpstreamUnreachable, match="the hub cannot be reached") as caught:
        await plugin.fetch(parse("llama_cpp:hf:owner/repo/tiny.gguf"), silent)
    assert "\n" not in str(caught.value)
