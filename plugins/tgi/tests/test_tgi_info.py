"""/info, /tokenize and /metrics: what the server is, counts and is busy with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

import h2o_relay_tgi
from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.serverstring import parse_bare
from h2o_relay.testing import scripts
from h2o_relay.types import Identified
from h2o_relay_tgi.conformance import info
from h2o_relay_tgi.info import version_of

from .tgi_kit import bench

GRADIO = {"named_endpoints": {"/chat": {"parameters": []}}, "unnamed_endpoints": {}}
EMBEDDINGS = {
    "model_id": "BAAI/bge-small-en", "model_sha": None, "model_dtype": "float16",
    "model_type": {"embedding": {"pooling": "cls"}}, "max_concurrent_requests": 512,
    "max_input_length": 512, "max_batch_tokens": 16384, "max_client_batch_size": 32,
    "tokenization_workers": 8, "version": "1.5.0", "sha": None, "docker_label": None,
}  # fmt: skip


async def asked(url: str, body: Any, status: int = 200) -> tuple[Identified | None, list[str]]:
    """What `identify` makes of a server whose /info this is, and the paths that it got."""
    paths = []

    async def get(path: str) -> tuple[int, Mapping[str, str], bytes]:
        paths.append(path)
        return status, {}, body if isinstance(body, bytes) else orjson.dumps(body)

    return await h2o_relay_tgi.identify(parse_bare(url), get), paths


@pytest.mark.parametrize("version", ["3.3.4", "2.4.1-dev0", "1.1.0", "0.9.4"])
async def test_tgi_is_recognised(version: str) -> None:
    found, paths = await asked("http://host:8080/path/", info("m", version))
    assert found is not None
    assert found.rank == 50
    assert (found.server.plugin, found.server.url) == ("tgi", "http://host:8080/path")
    assert paths == ["/info"]


async def test_others_are_not_mistaken_for_it() -> None:
    without = [{k: v for k, v in info("m").items() if k != name} for name in info("m")]
    missing = [await asked("http://host", body) for body in without]
    needed = {
        name for name, (found, _) in zip(info("m"), missing, strict=True) if found is None
    }  # fmt: skip
    assert needed == {
        "model_id", "max_concurrent_requests", "max_best_of", "max_stop_sequences",
        "max_total_tokens", "version",
    }  # fmt: skip
    for body in (GRADIO, EMBEDDINGS, {}, [], None, b"<html>", b"", {**info("m"), "version": 3}):
        assert (await asked("http://host", body))[0] is None
    for status in (401, 404, 500):
        assert (await asked("http://host", info("m"), status))[0] is None


async def test_what_a_bare_url_brings_is_carried_over() -> None:
    found, _ = await asked("http://host:8080:user:pass-word", info("m"))
    assert found is not None
    assert (found.server.user, found.server.password) == ("user", "pass-word")
    found, _ = await asked("https://host/v1    Bearer    tok:en", info("m"))
    assert found is not None
    assert found.server.url == "https://host"
    assert dict(found.server.headers) == {"authorization": "Bearer tok:en"}
    assert found.server.key == "tok:en"  # for errors to be cleaned of


@pytest.mark.parametrize(
    ("version", "kinds"),
    [
        ("3.3.4", {"chat", "text"}), ("1.4.0", {"chat", "text"}), ("2.4.1-dev0", {"chat", "text"}),
        ("10.0", {"chat", "text"}), ("1.3.4", {"text"}), ("0.9.4", {"text"}), ("?", {"text"}),
    ],
)  # fmt: skip
async def test_which_apis_a_version_has(version: str, kinds: set[str]) -> None:
    async with bench(version=version) as tgi:
        (model,) = await h2o_relay_tgi.list_models(tgi.server, tgi.client)
    assert model.kinds == kinds
    assert model.max_context == 128
    assert model.raw["version"] == version


def test_versions() -> None:
    assert version_of("2.4.1-dev0") == (2, 4, 1)
    assert version_of("v3.0") == (3, 0)
    assert version_of("dev") == ()


async def test_another_servers_info_is_no_list() -> None:
    async with bench() as tgi:
        tgi.upstream.script = scripts.json(EMBEDDINGS)
        with pytest.raises(UpstreamBadResponse, match="not that of a TGI server"):
            await h2o_relay_tgi.list_models(tgi.server, tgi.client)


async def test_tokens_are_counted_by_the_server() -> None:
    async with bench() as tgi:
        count = h2o_relay_tgi.count_tokens
        one = tgi.request(prompt="three little words")
        two = tgi.request(prompt=["three little words", "one"])
        rendered = tgi.request("chat", rendered="two words")
        chat = tgi.request("chat", messages=[{"role": "user", "content": "hi you"}])
        counts = [await count(tgi.server, tgi.client, r) for r in (one, two, rendered, chat)]
        assert counts == [4, 6, 3, 5]  # <s> with each; "user: hi you\nassistant:"
        assert tgi.paths == ["/tokenize"] * 4 + ["/chat_tokenize"]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_that_cannot_count_says_so(status: int) -> None:
    async with bench() as tgi:
        no = {"error": "No fast tokenizer available", "error_type": "no fast tokenizer"}
        tgi.upstream.script = scripts.json(no, status)
        for asked_for in (tgi.request(), tgi.request("chat")):
            assert await h2o_relay_tgi.count_tokens(tgi.server, tgi.client, asked_for) is None


@pytest.mark.parametrize("body", [b"nonsense", b"{}", b"3"])
async def test_a_list_of_tokens_that_is_none(body: bytes) -> None:
    async with bench() as tgi:
        tgi.upstream.script = scripts.whole(body)
        for asked_for in (tgi.request(), tgi.request("chat")):
            with pytest.raises(UpstreamBadResponse):
                await h2o_relay_tgi.count_tokens(tgi.server, tgi.client, asked_for)


async def test_load_is_read_from_the_metrics() -> None:
    async with bench() as tgi:
        load = await h2o_relay_tgi.load(tgi.server, tgi.client)
        assert (load.running, load.waiting, load.cache_use) == (7, 3, None)
        tgi.upstream.script = scripts.whole(b"tgi_queue_size 2\n", content_type="text/plain")
        load = await h2o_relay_tgi.load(tgi.server, tgi.client)
        assert (load.running, load.waiting) == (None, 2)
