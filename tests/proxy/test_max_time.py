"""`max_time`: an answer ends there with what it has, streamed or whole; and reaching a server."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.types import Tuning

from .kit import Relay, assert_error, assert_intact, chat, completion, event, post, relay, said
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 8.0
LIMIT = 2.5  # seconds; in less a busy machine may not come to say what there is
BEGUN = sse(said(9)).upto(3) + play(hang)
"""Three tokens, and then nothing for ever."""


async def ask(running: Relay, stream: bool = True, **fields: object) -> Reply:
    return await running.ask(post(chat(stream, **fields)))


def ends_early(reply: Reply) -> None:
    """Three tokens, and an ending as of an answer that has reached its limit."""
    assert_intact(reply, [*said(3, None), event({}, "length")])


async def test_a_stream_ends_with_what_it_has() -> None:
    async with relay(BEGUN, idle_timeout=60) as running:
        start = asyncio.get_running_loop().time()
        ends_early(await ask(running, max_time=LIMIT))
        assert LIMIT <= asyncio.get_running_loop().time() - start < LIMIT + SOON
        await running.calm(within=SOON)


async def test_a_whole_answer_ends_with_what_it_has() -> None:
    async with relay(BEGUN, idle_timeout=60) as running:
        reply = await ask(running, stream=False, max_time=LIMIT)
        assert reply.status == 200, reply.body
        (choice,) = reply.json()["choices"]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"] == "tok0tok1tok2"
        await running.calm(within=SOON)


async def test_texts_end_so_too() -> None:
    piece = {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "a"}]}
    script = sse([orjson.dumps(piece)]).upto(1) + play(hang)
    async with relay(script) as running:
        body = {"model": "m", "prompt": "x", "stream": True, "max_time": LIMIT}
        reply = await running.ask(post(body, "/v1/completions"))
        ending = {**piece, "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
        assert_intact(reply, [orjson.dumps(piece), orjson.dumps(ending)])


async def test_only_choices_that_go_on_are_ended() -> None:
    def piece(index: int, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": {"content": "x"}, "finish_reason": finish}
        return orjson.dumps({"id": "c", "choices": [choice]})

    payloads = [piece(0), piece(1), piece(0, "stop")]
    async with relay(sse(payloads).upto(3) + play(hang)) as running:
        reply = await ask(running, n=3, max_time=LIMIT)
        assert reply.payloads[:3] == payloads
        *_, ending, done = reply.payloads
        assert done == b"[DONE]"
        assert orjson.loads(ending)["choices"] == [
            {"index": index, "delta": {}, "finish_reason": "length"} for index in (1, 2)
        ]


async def test_an_answer_that_has_finished_gets_no_second_ending() -> None:
    async with relay(sse(said(3)).upto(4) + play(hang)) as running:
        assert_intact(await ask(running, max_time=LIMIT), said(3))


async def test_nothing_in_time_is_an_error() -> None:
    async with relay(play(hang), first_byte_timeout=60) as running:
        for reply in await asyncio.gather(*(ask(running, s, max_time=0.4) for s in (True, False))):
            assert_error(reply, 504, "deadline_exceeded", "timeout_error")
            assert "max_time" in reply.error["message"]
        assert len(running.asked) == 2


async def test_an_answer_in_time_is_not_changed() -> None:
    async with relay() as running:
        assert_intact(await ask(running, max_time=60), said(3))
        (received,) = running.asked
        assert received.json() == chat(), "the field is not the server's"
        assert "x-h2o-dropped-params" not in (await ask(running, max_time=60)).headers


@pytest.mark.parametrize("value", [0, -1, "5", True, 1e12])
async def test_what_is_no_time(value: object) -> None:
    async with relay() as running:
        reply = await ask(running, max_time=value)
        assert reply.status == 400
        assert reply.error["param"] == "max_time"
        assert not running.asked


async def test_null_is_no_limit() -> None:
    async with relay(json(completion())) as running:
        assert (await ask(running, stream=False)).json() == completion()


async def test_the_operators_limits() -> None:
    async with relay(BEGUN, max_time=LIMIT) as running:
        ends_early(await ask(running))
    async with relay(BEGUN, max_max_time=LIMIT) as running:
        asked = (ask(running, max_time=3600), ask(running, stream=False))
        early, reply = await asyncio.gather(*asked)
        ends_early(early)
        assert reply.json()["choices"][0]["finish_reason"] == "length"
    async with relay(sse(said(3)).paced(0.2), max_time=0.01) as running:
        assert_intact(await ask(running, max_time=60), said(3))


async def test_a_lock_overrules_the_request() -> None:
    tuning = Tuning(overrides={"max_time": LIMIT})
    spec = ServerSpec(server="vllm_chat:{url}/v1", base_model="m", tuning=tuning)
    async with relay(BEGUN, servers=[spec]) as running:
        asked = (ask(running, max_time=3600), ask(running, stream=False))
        early, reply = await asyncio.gather(*asked)
        ends_early(early)
        assert reply.json()["choices"][0]["finish_reason"] == "length"


async def test_reaching_a_server_has_its_own_limit() -> None:
    """REQUEST_TIMEOUT_FAST: where connections are not taken, before anything is sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        server = f"vllm_chat:http://127.0.0.1:{full.getsockname()[1]}/v1"
        limits = {"connect_timeout": 60.0, "request_timeout_fast": LIMIT, "request_timeout": 0.3}
        async with relay(servers=[(server, "m")], wait=False, **limits) as running:
            await running.kernel.settled(SOON)
            start = asyncio.get_running_loop().time()
            reply = await ask(running)
            took = asyncio.get_running_loop().time() - start
            assert_error(reply, 504, "connect_timeout", "timeout_error")
            assert LIMIT <= took < LIMIT + SOON
        for one in held:
            one.close()


async def test_it_never_cuts_an_answer() -> None:
    async with relay(sse(said(5)).paced(0.2), request_timeout_fast=0.1) as running:
        assert_intact(await ask(running), said(5))
