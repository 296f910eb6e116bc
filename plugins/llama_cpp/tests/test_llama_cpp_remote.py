"""A llama.cpp server that runs already: reached, not started; nothing is fetched for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from h2o_relay.serverstring import parse_bare
from h2o_relay.types import Endpoint, Server
from h2o_relay_llama_cpp import connect, fetch, identify

Answers = Mapping[str, tuple[int, Mapping[str, str], Any]]
HEADER = {"server": "llama.cpp"}
NONE: Answers = {}


async def identified(
    answers: Answers, url: str = "http://h:8080"
) -> tuple[Server | None, list[str]]:
    """What `identify` makes of a server with these answers, and the paths that it got."""
    paths: list[str] = []

    async def get(path: str) -> tuple[int, Mapping[str, str], bytes]:
        paths.append(path)
        status, headers, document = answers.get(path, (404, {}, {}))
        return status, headers, orjson.dumps(document)

    found = await identify(parse_bare(url), get)
    assert found is None or found.rank == 50
    return (None if found is None else found.server), paths


def models(owner: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "owned_by": owner}]}


@pytest.mark.parametrize(
    ("answers", "paths"),
    [
        ({"/v1/models": (200, HEADER, models("me"))}, 1),
        ({"/v1/models": (401, HEADER, {"error": {}})}, 1),
        ({"/v1/models": (503, HEADER, {"error": {}})}, 1),
        ({"/v1/models": (200, {}, models("llamacpp"))}, 1),
        ({"/props": (200, {}, {"default_generation_settings": {"n_ctx": 1}})}, 2),
    ],
)
async def test_it_is_recognised(answers: Answers, paths: int) -> None:
    server, got = await identified(answers, "http://h:8080:user:KEY-55")
    assert server is not None
    assert (server.plugin, server.url, server.api) == ("llama_cpp", "http://h:8080", "chat")
    assert server.key == "KEY-55"
    assert len(got) == paths


@pytest.mark.parametrize(
    "answers",
    [
        NONE,
        {"/v1/models": (200, {}, models("vllm"))},
        {"/v1/models": (401, {}, models("llamacpp"))},
        {"/v1/models": (200, {}, [1]), "/props": (200, {}, [])},
        {"/v1/models": (200, {}, {"data": 5}), "/props": (200, {}, {"total_slots": 1})},
        {"/props": (500, {}, {"default_generation_settings": {}})},
    ],
)
async def test_what_is_somebody_elses(answers: Answers) -> None:
    assert (await identified(answers))[0] is None


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/llama/v1"])
async def test_it_is_reached_where_it_is(end: str) -> None:
    answers = {"/v1/models": (200, HEADER, models("llamacpp"))}
    server, _ = await identified(answers, f"http://h:8080{end}")
    assert server is not None
    async with connect(server) as endpoint:
        below = "/llama" if "llama" in end else ""
        assert endpoint == Endpoint(url=f"http://h:8080{below}", headers={})


async def test_credentials_go_with_every_request() -> None:
    async with connect(Server(plugin="llama_cpp", url="http://h", key="K")) as endpoint:
        assert endpoint.headers == {"authorization": "Bearer K"}
    headers = {"authorization": "Basic x"}
    server = Server(plugin="llama_cpp", url="http://h", key="K", headers=headers)
    async with connect(server) as endpoint:
        assert endpoint.headers == headers, "what the operator wrote as a header is what is sent"


async def test_nothing_is_fetched_for_it() -> None:
    assert await fetch(Server(plugin="llama_cpp", url="http://h"), lambda *_: None) is None
