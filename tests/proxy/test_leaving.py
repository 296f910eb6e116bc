"""A client that goes away stops the upstream's work, whatever the relay was waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import openai
import pytest

from h2o_relay.testing.scripts import Play, chunk, event, hang, json, play, sse
from h2o_relay.testing.upstream import Answer, Received, until

from .kit import CHAT, MODEL, Relay, assert_intact, chat, completion, get, post, relay, said
from .raw_client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 0.5
"""Seconds until the upstream must be free."""
MIDST = sse(said(9)).upto(3) + play(hang)
SILENT = play(hang)
HEAD_ONLY = sse([]).upto(0) + play(hang)
HALF = play(json(completion()).wire[:120], hang)
WAYS: list[Callable[[Client], Coroutine[Any, Any, None]]] = []


async def by_reset(client: Client) -> None:
    client.reset()


async def by_end(client: Client) -> None:
    await client.close()


async def by_half_close(client: Client) -> None:
    """FIN while the client could still read: `nc`, or a dead process behind a live socket."""
    client.writer.write_eof()


WAYS = [by_reset, by_end, by_half_close]


async def dribble(_: Received, answer: Answer) -> None:
    head, first, *_ = sse(said(1, None)).steps
    assert isinstance(head, bytes)
    assert isinstance(first, bytes)
    await answer.send(head)
    while True:
        await answer.send(first)
        await asyncio.sleep(0.01)


async def freed(running: Relay, count: int = 1) -> None:
    """The upstream saw all its clients leave, and soon."""
    await running.calm(AT_ONCE)
    assert len(running.upstream.gone) == count


@pytest.mark.parametrize("leave", WAYS)
async def test_leaving(
    running: Relay, leave: Callable[[Client], Coroutine[Any, Any, None]]
) -> None:
    cases = [
        ("in mid-stream", True, MIDST),
        ("while the upstream dribbles", True, dribble),
        ("before the upstream's head", True, SILENT),
        ("before the first event", True, HEAD_ONLY),
        ("unstreamed, before the head", False, SILENT),
        ("unstreamed, in the body", False, HALF),
    ]
    for name, streamed, script in cases:
        running.plays(script)
        try:
            async with running.client() as client:
                await client.send(post(chat(streamed)))
                await until(lambda: running.upstream.answering, within=1)
                if "stream" in name or "dribbles" in name:
                    await asyncio.sleep(0.02)
                await leave(client)
                await freed(running)
        except AssertionError as error:
            error.add_note(name)
            raise


@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_with_a_second_request_on_the_connection(
    running: Relay, streamed: bool
) -> None:
    seconds = [post(chat()), get("/health"), post(chat())[:-10], get("/health")[:-4]]
    running.plays(MIDST if streamed else SILENT)
    for second in seconds:
        for together in (True, False):
            for leave in WAYS:
                running.plays(MIDST if streamed else SILENT)
                async with running.client() as client:
                    if together:
                        await client.send(post(chat(streamed)) + second)
                    else:
                        await client.send(post(chat(streamed)))
                    await until(lambda: running.upstream.answering, within=1)
                    if not together:
                        await client.send(second)
                    await asyncio.sleep(0.01)
                    await leave(client)
                    await freed(running)
                assert len(running.asked) == 1


async def test_a_hundred_clients_at_once(running: Relay) -> None:
    running.plays(dribble)
    clients = [running.client() for _ in range(100)]
    entered = [await client.__aenter__() for client in clients]
    for client in entered:
        await client.send(post(chat()))
    for client in entered:
        assert (await client.head()).status == 200
    assert running.upstream.answering == 100
    for client in entered:
        client.reset()
    await freed(running, 100)
    for context in clients:
        await context.__aexit__(None, None, None)
    assert running.upstream.open == 0


async def test_leaving_while_the_body_is_sent(running: Relay) -> None:
    for leave in WAYS:
        async with running.client() as client:
            await client.send(post(chat())[:-5])
            await asyncio.sleep(0.02)
            await leave(client)
    await asyncio.sleep(0.05)
    assert running.asked == []


async def test_others_go_on(running: Relay) -> None:
    running.plays(sse(said(30)).paced(0.01))
    async with running.client() as stays:
        await stays.send(post(chat()))
        async with running.client() as goes:
            await goes.send(post(chat()))
            await goes.head()
            goes.reset()
        assert_intact(await stays.reply(), said(30))
    assert len(running.upstream.gone) == 1


async def test_the_official_client_closes_its_stream(running: Relay) -> None:
    running.plays(dribble)
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="x") as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for part in stream:
            assert part.choices[0].delta.content == "tok0"
            break
        await stream.close()
        await freed(running)


async def test_the_official_client_is_cancelled() -> None:
    async with (
        relay(SILENT) as running,
        openai.AsyncOpenAI(
            base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=2.5
        ) as client,
    ):
        for streamed in (True, False):
            running.plays(SILENT)
            with pytest.raises(openai.APITimeoutError):
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=streamed
                )
            await freed(running)


async def test_the_official_client_reads_all_kinds_of_answers() -> None:
    async with (
        relay() as running,
        openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client,
    ):
        ask = client.chat.completions.create
        hello: Any = [{"role": "user", "content": "hi"}]
        running.plays(json(completion("hello")))
        whole = await ask(model=MODEL, messages=hello)
        assert whole.choices[0].message.content == "hello"
        running.plays(sse(said(3)))
        stream = await ask(model=MODEL, messages=hello, stream=True)
        texts = [part.choices[0].delta.content or "" async for part in stream]
        assert "".join(texts) == "tok0tok1tok2"
        running.plays(sse(said(3, None)))
        stream = await ask(model=MODEL, messages=hello, stream=True)
        with pytest.raises(openai.APIError, match="without finishing"):
            async for _ in stream:
                pass
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await ask(model="nope", messages=hello)
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL


async def test_a_client_that_has_its_answer_leaves_the_connection_to_be_used_again() -> None:
    script: Play = sse(said(2))
    async with relay(script) as running:
        before = running.upstream.accepted  # by what was asked of its models
        for _ in range(3):
            assert_intact(await running.ask(post(chat(), CHAT)), said(2))
        assert len({r.at for r in running.asked}) == 3
        assert running.upstream.accepted == before + 1
        assert running.upstream.gone == []


async def test_an_event_is_not_lost_when_it_comes_with_the_clients_leaving(running: Relay) -> None:
    """The relay must survive a client that leaves as its answer ends."""
    for pause in (0, 0.001, 0.002, 0.003):
        running.plays(Play((*sse(said(2)).steps[:-1], pause, chunk(event(b"[DONE]")))))
        async with running.client() as client:
            await client.send(post(chat()))
            await client.head()
            client.reset()
        await running.calm(1.5)
    running.plays(sse(said(2)))
    assert_intact(await running.ask(post(chat())), said(2))
