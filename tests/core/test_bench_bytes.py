"""Each behaviour of the bench sends exactly the bytes that it is described with."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from h2o_relay.testing.bench import BEHAVIOURS, Bench

from .bench_cases import EITHER, STREAMED, WHOLE, Case, event, good
from .bench_client import DONE, HEAD, LAST, Said, chunked, connected, fetched, post, sized, taken

ELSEWHERE = {"giant-event", "giant-headers", "giant-error", "endless-line"}
"""Tested below, by their sizes."""
CASES = [
    *((name, True, case) for name, case in (EITHER | STREAMED).items()),
    *((name, False, case) for name, case in (EITHER | WHOLE).items()),
]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Bench]:
    async with Bench() as bench:
        yield bench


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.forget()
    return shared


@pytest.mark.parametrize(
    ("name", "streamed", "case"), CASES, ids=[f"{n}{' ' * s}" for n, s, _ in CASES]
)
async def test_the_bytes(bench: Bench, name: str, streamed: bool, case: Case) -> None:
    wire, ending = case(Said(name))
    patience = 0.1 if ending == "silence" else 5
    assert await taken(bench, post(name, streamed), len(wire), patience) == (wire, ending)
    assert bench.count(name).requests == 1


async def test_every_behaviour_is_tested_here() -> None:
    for table in (EITHER | STREAMED, EITHER | WHOLE):
        tested = {name.partition("@")[0] for name in table}
        assert tested | ELSEWHERE | ({"tools"} if "tools" not in table else set()) == set(
            BEHAVIOURS
        )


async def test_a_tool_call_that_is_not_streamed(bench: Bench) -> None:
    _, body = await fetched(bench, post("tools", False))
    choice = json.loads(body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"place": "Zürich 🦆"}


async def test_a_date_to_wait_for(bench: Bench) -> None:
    head, _ = await fetched(bench, post("rate-limit@form=date~wait=60"))
    assert re.search(rb"\r\nretry-after: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", head)


async def test_a_flaky_model_is_fine_after_its_failures(bench: Bench) -> None:
    name = "flaky@by=status"
    sizes = [len(case(Said(name))[0]) for case in (EITHER[name], EITHER[name], good)]
    told = [(await taken(bench, post(name), size))[0] for size in sizes]
    assert [wire[9:12] for wire in told] == [b"503", b"503", b"200"]
    assert told[2] == Said(name).good()


async def test_text_completions(bench: Bench) -> None:
    body = b'{"model":"ok@tokens=1","prompt":"x","stream":true}'
    sent = b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    top = '{"id":"cmpl-1","object":"text_completion","created":1750000000,"model":"ok@tokens=1",'
    tok = top + '"choices":[{"index":0,"text":"tok0","finish_reason":null}]}'
    end = top + '"choices":[{"index":0,"text":"","finish_reason":"stop"}]}'
    wire = HEAD + chunked(event(tok.encode()), event(end.encode()), DONE) + LAST
    assert await taken(bench, sent, len(wire)) == (wire, "kept")


async def test_a_giant_event(bench: Bench) -> None:
    said = Said("giant-event@after=1~mib=1")
    before, after = said.tokens(1, 2)[0].split(b"tok1")
    filler = chunked(b"x" * 2**16) * 16
    wire = said.upto(1) + chunked(before) + filler + chunked(after) + said.rest(2, 3)
    assert await taken(bench, post(said.name), len(wire)) == (wire, "kept")
    wire = sized(said.body(1, "x" * 2**20))
    assert await taken(bench, post(said.name, False), len(wire)) == (wire, "kept")


async def test_a_giant_header(bench: Bench) -> None:
    for streamed in (True, False):
        said = Said("giant-headers")
        top, mark, rest = (said.good() if streamed else said.whole()).partition(b"\r\n\r\n")
        wire = top + b"\r\nx-filler: " + b"y" * 2**20 + mark + rest
        assert await taken(bench, post(said.name, streamed), len(wire)) == (wire, "kept")


async def test_a_giant_error(bench: Bench) -> None:
    filler = "x" * 2**20
    error = {"message": filler, "type": "server_error", "param": None, "code": "giant"}
    body = json.dumps({"error": error}, separators=(",", ":")).encode()
    wire = sized(body, b"502 Bad Gateway")
    assert await taken(bench, post("giant-error@mib=1~code=502"), len(wire)) == (wire, "kept")


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_endless_line(bench: Bench, streamed: bool) -> None:
    async with connected(bench) as (reader, writer):
        writer.write(post("endless-line", streamed))
        wire = await reader.readexactly(2**21)
    body = wire.partition(b"\r\n\r\n")[2]
    assert b"\n\n" not in body.replace(b"\r\n", b"")
    assert body.count(b"10000\r\n" + b"x" * 2**16) > 30
