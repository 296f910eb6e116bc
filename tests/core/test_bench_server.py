"""The bench as a server: names, what it lists and counts, its restarts, its wrong ports, and its
command.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from h2o_relay.errors import (
    ConnectTimeout,
    ModelNotFound,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from h2o_relay.http import HttpClient
from h2o_relay.testing.bench import (
    BEHAVIOURS,
    Bench,
    bannered,
    mute,
    refusing,
    resetting,
    unaccepting,
)
from h2o_relay.testing.bench.__main__ import main
from h2o_relay.testing.bench.grammar import read_name
from h2o_relay.testing.scripts import hang, play
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until

from .bench_client import Said, connected, fetched, get, post, taken

NAMES = [
    ("ok", "ok", {"tokens": 5, "delay": 0, "first": 0}),
    ("ok@tokens=20~delay=50", "ok", {"tokens": 20, "delay": 50, "first": 0}),
    ("reset@after=0", "reset", {"after": 0}),
    ("truncate@where=chunk", "truncate", {"after": 3, "where": "chunk"}),
    ("html", "html", {}),
    ("html@", "html", {}),
]
WRONG_NAMES = [
    ("rest", "Did you mean `reset`"),
    ("nothing-like-it", "no behaviour `nothing-like-it`"),
    ("", "no behaviour ``"),
    ("html@after=3", "`html` has no option `after`"),
    ("reset@before=3", r"no option `before` \[after=3\]"),
    ("reset@after", "`after` is a number"),
    ("reset@after=-1", "`after` is a number"),
    ("reset@after=1.5", "`after` is a number"),
    ("reset@after=³", "`after` is a number"),
    ("reset@after=3~", "no option ``"),
    ("truncate@where=nowhere", "one of between, chunk, string, event, not `nowhere`"),
]


@pytest.mark.parametrize(("name", "base", "options"), NAMES)
def test_names(name: str, base: str, options: dict[str, object]) -> None:
    found, read = read_name(name, BEHAVIOURS)
    assert (found.name, read) == (base, options)


@pytest.mark.parametrize(("name", "message"), WRONG_NAMES)
def test_names_that_say_nothing(name: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message):
        read_name(name, BEHAVIOURS)
    with pytest.raises(ModelNotFound, match=message):
        Bench(also=[name])


async def test_a_wrong_name_is_a_404_that_says_so() -> None:
    async with Bench() as bench:
        head, body = await fetched(bench, post("rest"))
        assert head.startswith(b"HTTP/1.1 404 ")
        error = json.loads(body)["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "`reset`" in error["message"]
        assert bench.counts == {}


async def test_requests_that_make_no_sense() -> None:
    async with Bench() as bench:
        value, model = "invalid_value", "model_not_found"
        cases = [(b"{bad", value), (b"[]", value), (b"{}", model), (b'{"model":7}', model)]
        for body, code in cases:
            sent = b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b"
            _, answer = await fetched(bench, sent % (len(body), body))
            assert json.loads(answer)["error"]["code"] == code
        for sent in (get("/nope"), post("ok", path="/v1/embeddings")):
            _, answer = await fetched(bench, sent)
            assert json.loads(answer)["error"]["code"] == "unknown_url"


async def test_what_it_can_do_is_listed() -> None:
    async with Bench(also=["ok@tokens=9", "ok"]) as bench:
        _, body = await fetched(bench, get("/v1/models"))
    listed = [entry["id"] for entry in json.loads(body)["data"]]
    assert set(BEHAVIOURS) < set(listed)
    assert {"redirect@to=loop", "dialect@style=cr", "ok@tokens=9"} < set(listed)
    assert len(listed) == len(set(listed))
    for name in listed:
        read_name(name, BEHAVIOURS)


async def test_v1_may_be_left_out() -> None:
    async with Bench() as bench:
        said = Said("ok")
        for path in ("/v1/chat/completions", "/chat/completions"):
            wire, ending = await taken(bench, post("ok", path=path), len(said.good()))
            assert (wire, ending) == (said.good(), "kept")
        assert await fetched(bench, get("/models")) == await fetched(bench, get("/v1/models?a=1"))


async def test_what_is_counted() -> None:
    async with Bench() as bench:
        said = Said("ok@tokens=2")
        await taken(bench, post(said.name), len(said.good(2)))
        async with connected(bench) as (reader, writer):
            writer.write(post("hang@after=1"))
            await reader.readuntil(b"tok0")
            _, body = await fetched(bench, get("/__requests"))
            assert json.loads(body) == {
                "models": {
                    "hang@after=1": {"requests": 1, "open": 1, "disconnected": 0},
                    "ok@tokens=2": {"requests": 1, "open": 0, "disconnected": 0},
                },
                "connections": {"open": 2, "accepted": 3},
                "redirects_followed": 0,
            }
        await until(lambda: not bench.count("hang@after=1").open, within=2)
        assert bench.count("hang@after=1").disconnected == 1
        await taken(bench, post("reset"), len(Said("reset").upto(3)))
        assert bench.count("reset").disconnected == 0
        await fetched(bench, get("/__canary"))
        assert bench.canaries == 1
        bench.forget()
        assert (bench.counts, bench.canaries) == ({}, 0)


async def test_delays_are_milliseconds() -> None:
    loop = asyncio.get_running_loop()
    cases = [("ok@tokens=3~delay=50~first=100", True), ("ok@tokens=3~delay=50~first=100", False),
             ("drip@tokens=5~delay=50", True), ("slow-headers@delay=3", False)]  # fmt: skip
    async with Bench() as bench:
        for name, streamed in cases:
            async with connected(bench) as (reader, writer):
                start = loop.time()
                writer.write(post(name, streamed))
                await reader.readuntil(b"\r\n\r\n")
                head = loop.time() - start
                await reader.readuntil(b"[DONE]" if streamed else b"}}")
                whole = loop.time() - start
            least = 0.0 if name.startswith("drip") else 0.1
            assert least <= head < least + 3, name
            assert 0.18 < whole < 3, name


async def test_gets_can_be_broken() -> None:
    async with Bench() as bench:
        bench.gets = play(hang)
        async with connected(bench) as (reader, writer):
            writer.write(get("/v1/models"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
        assert len(await fetched(bench, post("status"))) == 2


async def test_it_dies_with_all_its_connections_and_comes_back() -> None:
    async with Bench() as bench:
        async with connected(bench) as (other, writer):
            writer.write(post("hang@after=1"))
            await other.readuntil(b"tok0")
            port, said = bench.port, Said("die@after=2~seconds=1")
            size = len(said.upto(2))
            assert await taken(bench, post(said.name), size) == (said.upto(2), "FIN")
            assert b"tok1" not in await other.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bench.answering == 0, within=2)
        deadline = asyncio.get_running_loop().time() + 10
        while not await there(bench):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
        assert bench.port == port
        assert bench.count("hang@after=1").disconnected == 0


async def there(bench: Bench) -> bool:
    try:
        head, _ = await fetched(bench, get("/health"))
    except ConnectionRefusedError:
        return False
    return head.startswith(b"HTTP/1.1 200 ")


async def test_it_can_be_left_while_it_is_away() -> None:
    tasks = asyncio.all_tasks()
    async with Bench() as bench:
        await taken(bench, post("restart@seconds=60"), 0)
        bench.vanish_for(60)  # once more is no more
    assert asyncio.all_tasks() == tasks


async def test_ports_that_are_wrong() -> None:
    async with (
        HttpClient(quick(connect_timeout=2.5, first_byte_timeout=2.5)) as client,
        resetting() as resets, mute() as silent, bannered() as other,
    ):  # fmt: skip
        with refusing() as closed, pytest.raises(UpstreamUnreachable):
            await ask(client, closed.url)
        with unaccepting() as full, pytest.raises(ConnectTimeout):
            await ask(client, full.url)
        with pytest.raises(UpstreamDisconnected):
            await ask(client, resets.url)
        with pytest.raises(ConnectTimeout):
            await ask(client, silent.url.replace("http", "https"))
        with pytest.raises(UpstreamTLSError):
            await ask(client, other.url.replace("http", "https"))
        with pytest.raises(UpstreamBadResponse):
            await ask(client, other.url)
        assert resets.accepted >= 1
        assert (silent.accepted, other.accepted) == (1, 2)


async def ask(client: HttpClient, url: str) -> None:
    async with client.request("GET", f"{url}/", first_byte=0.5) as response:
        await response.read(10)


def test_the_command_lists_every_fault() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    for name, found in BEHAVIOURS.items():
        assert found.summary
        line = re.search(rf"^  {name} +(.*)$", shown.output, re.MULTILINE)
        assert line, name
        assert line[1].startswith(found.summary)


def test_the_command_refuses_what_it_cannot_list() -> None:
    shown = CliRunner().invoke(main, ["--also", "rest"])
    assert shown.exit_code == 2
    assert "Did you mean `reset`?" in shown.output


async def test_the_command_says_when_a_port_is_taken() -> None:
    async with Bench() as bench:
        shown = await asyncio.to_thread(CliRunner().invoke, main, ["--port", str(bench.port)])
    assert shown.exit_code == 1
    assert shown.output.startswith(f"Error: cannot serve on port {bench.port}: ")


def test_the_command() -> None:
    command = [sys.executable, "-u", "-m", "h2o_relay.testing.bench", "--port", "0", "--peers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(6)]
        finally:
            process.terminate()
    assert re.fullmatch(r"(http://127\.0\.0\.1:\d+) is .*: h2o run vllm_chat:\1\n", lines[0])
    assert all(re.match(r"http://127\.0\.0\.1:\d+ \w", line) for line in lines[1:])


def test_the_documentation_lists_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == {name: found.summary for name, found in BEHAVIOURS.items()}
