"""The fake relay keeps what the real one promises, or tests that use it would prove nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from h2o_relay.errors import UpstreamDisconnected, UpstreamUnavailable

from .fakes import FakeRelay, Script, view


async def test_an_answer_has_its_pieces_its_reason_and_its_usage() -> None:
    relay = FakeRelay(view("a"), scripts={"a": Script(reasoning=["well"], pieces=["x", "y"])})
    async with relay.stream("chat", {"model": "a"}) as answer:
        chunks = [chunk async for chunk in answer]
    assert "".join(chunk.text for chunk in chunks) == "xy"
    assert "".join(chunk.reasoning for chunk in chunks) == "well"
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert chunks[-1].usage == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert (relay.asked[0].ended, relay.asked[0].closed) == (True, True)
    assert (await relay.generate("chat", {"model": "a"})).text == "xy"


async def test_what_is_left_early_is_closed_and_not_ended() -> None:
    relay = FakeRelay(view("a"), scripts={"a": Script(endless=True)})
    async with relay.stream("chat", {"model": "a"}) as answer:
        async for _ in answer:
            assert not relay.asked[0].closed
            break
    assert (relay.asked[0].ended, relay.asked[0].closed) == (False, True)


async def test_an_error_is_raised_on_entering_or_after_the_pieces() -> None:
    error = UpstreamDisconnected("gone")
    relay = FakeRelay(view("a"), view("b"), view("c", state="offline", reason="no route"))
    relay.scripts = {"a": Script(pieces=(), error=error), "b": Script(error=error)}
    for name, expected in (("a", UpstreamDisconnected), ("c", UpstreamUnavailable)):
        with pytest.raises(expected):
            async with relay.stream("chat", {"model": name}):
                raise AssertionError("it was entered")
    seen: list[str] = []

    async def read() -> None:
        async with relay.stream("chat", {"model": "b"}) as answer:
            async for chunk in answer:
                seen.append(chunk.text)  # noqa: PERF401 - it breaks off

    with pytest.raises(UpstreamDisconnected):
        await read()
    assert "".join(seen) == "Hello there."


async def test_changes_are_told_at_once_and_as_they_come() -> None:
    relay = FakeRelay(view("a"))
    async with aclosing(relay.changes()) as changes:
        assert [v.state for v in await anext(changes)] == ["healthy"]
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)
        relay.set("a", state="offline")
        assert [v.state for v in await waiting] == ["offline"]
        assert relay.watching == 1
    assert relay.watching == 0


async def test_what_was_added_can_be_changed_and_removed() -> None:
    relay = FakeRelay(view("a"))
    id = await relay.add({"base_model": "b", "inference_server": "vllm:x:1", "h2ogpt_key": "k"})
    assert [v.name for v in relay.deployments()] == ["a", "b"]
    await relay.change(id, {"max_seq_len": 512})
    assert relay.views[1].max_context == 512
    assert (await relay.entry(id))["h2ogpt_key"] == "***"
    await relay.remove(id)
    assert [name for name, _ in relay.calls] == ["add", "change", "entry", "remove"]
    assert [v.name for v in relay.deployments()] == ["a"]
