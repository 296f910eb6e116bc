"""Several processes that answer as one (`--workers`). Which of them has a connection is chance:
what must hold for each is asked on many connections.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import ScriptedUpstream, until

from .kit import (
    asked_of,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    post,
    said,
    serving,
)
from .raw_client import Reply
from .test_process import ENDS, SOON, Process, process, written

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is one process on Windows"),
]

WORKERS = 2
MANY = 16
"""Connections; that all come to one of two workers happens once in 32,768 times."""
PASS = {"Authorization": "Bearer pass"}
FLAGS: dict[str, Any] = {"workers": WORKERS, "admin_pass": "pass"}


async def answering(running: Process) -> None:
    """Wait until all workers do, and have read the keys."""
    await until(lambda: len(workers_of(running)) == WORKERS, within=SOON)
    async with asyncio.timeout(SOON):
        while not all(
            reply.status == 200 for reply in await everywhere(running, get("/v1/models"))
        ):
            pass


def workers_of(running: Process) -> list[int]:
    """The processes that have answered, without those that are gone."""
    found = [int(pid) for pid in re.findall(r"answers \(process (\d+)\)", running.output)]
    return [pid for pid in found if lives(pid)]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def everywhere(running: Process, request: bytes) -> list[Reply]:
    """The same on connections of their own, one after the other."""
    return [await running.ask(request) for _ in range(MANY)]


async def metric(running: Process, pattern: str) -> float:
    """The sum of all samples that a pattern matches."""
    text = (await running.ask(get("/metrics"))).body.decode()
    return sum(float(value) for value in re.findall(rf"(?m)^{pattern}\S* (\S+)$", text))


CHATS = 'h2o_requests_total{[^}]*route="/v1/chat/completions"'


async def test_they_count_together(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        for reply in await everywhere(running, post(chat())):
            assert_intact(reply, said(3))
        for _ in range(4):
            assert await metric(running, CHATS) == MANY
        await asyncio.sleep(0.2)
        for reply in await everywhere(running, get("/admin/deployments", **PASS)):
            assert [row["requests"] for row in reply.json()["data"]] == [MANY]
        (used,) = (await running.ask(get("/admin/usage?by=model", **PASS))).json()["data"]
        assert used["requests"] == MANY
    assert "Traceback" not in running.output


async def test_one_that_dies_is_replaced(tmp_path: Path) -> None:
    script = sse(said(60)).paced(0.05)
    async with (
        ScriptedUpstream(serving(script)) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        asking = [asyncio.create_task(running.ask(post(chat()))) for _ in range(MANY)]
        await until(lambda: len(asked_of(upstream)) == MANY, within=SOON)
        os.kill(workers_of(running)[0], signal.SIGKILL)
        await running.says(r"worker \S+ died \(signal 9\), another one takes its place")
        await until(lambda: len(workers_of(running)) == WORKERS, within=SOON)
        replies = await asyncio.gather(*asking, return_exceptions=True)
        intact = [reply for reply in replies if isinstance(reply, Reply) and reply.complete]
        assert 0 < len(intact) < MANY
        for reply in intact:
            assert_intact(reply, said(60))
        upstream.script = serving(sse(said(3)))
        for reply in await everywhere(running, post(chat())):
            assert_intact(reply, said(3))
        await asyncio.sleep(0.2)
        (row,) = (await running.ask(get("/admin/deployments", **PASS))).json()["data"]
        assert row["running"] == 0
    assert "Traceback" not in running.output


async def test_they_do_not_outlive_the_one_that_started_them(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(serving(play(hang))) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        pids = workers_of(running)
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        running.process.kill()
        await until(lambda: not any(map(lives, pids)), within=SOON)
        assert_error(await asking, 503, "gateway_shutdown")


async def test_they_leave_together(tmp_path: Path) -> None:
    script = sse(said(40)).paced(0.05)
    async with (
        ScriptedUpstream(serving(script)) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        for reply in await everywhere(running, get("/readyz")):
            assert_error(reply, 503, "draining")
        assert_intact(await asking, said(40))
        assert await running.ended() == 0
        assert not workers_of(running)
    assert "Traceback" not in running.output


async def test_a_second_signal_ends_them_now(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(serving(play(hang))) as upstream,
        process(upstream, tmp_path, drain_timeout=60, **FLAGS) as running,
    ):
        await answering(running)
        asking = asyncio.create_task(running.ask(post(chat())))
        await until(lambda: asked_of(upstream), within=SOON)
        running.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        assert running.process.returncode is None
        running.process.send_signal(signal.SIGINT)
        assert_error(await asking, 503, "gateway_shutdown")
        assert await running.ended(ENDS) == 128 + signal.SIGINT
    assert "Traceback" not in running.output


async def test_all_follow_the_file_and_the_administrator(tmp_path: Path) -> None:
    config = tmp_path / "h2o.yaml"
    async with ScriptedUpstream(serving(sse(said(3)))) as upstream:
        written(config, upstream, "one")
        async with process(upstream, tmp_path, config, **FLAGS) as running:
            await answering(running)
            written(config, upstream, "one", "two")
            await running.ask(post({}, "/admin/config/reload", PASS))
            for reply in await everywhere(running, post(chat(model="two"))):
                assert_intact(reply, said(3))
            entry = {"inference_server": f"vllm_chat:{upstream.url}/v1", "base_model": "three"}
            made = await running.ask(post(entry, "/admin/deployments", PASS))
            assert made.status == 201, made.body
            for reply in await everywhere(running, post(chat(model="three"))):
                assert_intact(reply, said(3))
            path = f"/admin/deployments/{made.json()['id']}"
            gone = await running.ask(get(path, **PASS).replace(b"GET", b"DELETE", 1))
            assert gone.status == 200, gone.body
            for reply in await everywhere(running, post(chat(model="three"))):
                assert_error(reply, 404, "model_not_found", "invalid_request_error")
    assert "Traceback" not in running.output


async def key_of(running: Process, **may: Any) -> tuple[str, dict[str, str]]:
    """A new key's id, and its header."""
    name = "-".join(["key", *may])
    made = await running.ask(post({"name": name, **may}, "/admin/keys", PASS))
    assert made.status == 201, made.body
    told = made.json()
    return told["id"], {"Authorization": f"Bearer {told['key']}"}


async def test_limits_are_those_of_all_together(tmp_path: Path) -> None:
    script = sse(said(60)).paced(0.05)
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        _, key = await key_of(running, requests_per_minute=10)
        asked = [running.ask(post(chat(), headers=key)) for _ in range(3 * MANY)]
        statuses = [reply.status for reply in await asyncio.gather(*asked)]
        assert sorted(statuses) == [200] * 10 + [429] * (3 * MANY - 10)
        upstream.script = serving(script)
        _, key = await key_of(running, concurrent=3)
        asked = [running.ask(post(chat(), headers=key)) for _ in range(MANY)]
        statuses = [reply.status for reply in await asyncio.gather(*asked)]
        assert sorted(statuses) == [200] * 3 + [429] * (MANY - 3)
        upstream.script = serving(sse(said(3)))
        assert (await running.ask(post(chat(), headers=key))).status == 200  # the places are free
    assert "Traceback" not in running.output


async def test_a_server_limit_is_that_of_all_together(tmp_path: Path) -> None:
    running_now = most = 0

    async def watched(request: Any, answer: Any) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.1)
        running_now -= 1
        await json(completion())(request, answer)

    config = tmp_path / "h2o.yaml"
    async with ScriptedUpstream(serving(watched)) as upstream:
        written(config, upstream, "m")
        async with process(upstream, tmp_path, config, concurrency_count=2, **FLAGS) as running:
            await answering(running)
            asked = [running.ask(post(chat(stream=False))) for _ in range(MANY)]
            for reply in await asyncio.gather(*asked):
                assert reply.status == 200, reply.body
            assert most == 2
    assert "Traceback" not in running.output


async def test_keys_are_known_and_revoked_everywhere(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        id, key = await key_of(running)
        for reply in await everywhere(running, post(chat(), headers=key)):
            assert reply.status == 200, reply.body
        revoke = get(f"/admin/keys/{id}", **PASS).replace(b"GET", b"DELETE", 1)
        revoked = await running.ask(revoke)
        assert revoked.status == 200, revoked.body
        for reply in await everywhere(running, post(chat(), headers=key)):
            assert reply.status == 401, reply.body
    assert "Traceback" not in running.output


async def test_responses_are_kept_for_all(tmp_path: Path) -> None:
    asked = {"model": "m", "input": "hi"}
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, **FLAGS) as running,
    ):
        await answering(running)
        made = await running.ask(post({**asked, "stream": True}, "/v1/responses"))
        id = re.findall(rb'"id":"(resp_[0-9a-f]+)"', made.body)[0].decode()
        for reply in await everywhere(running, get(f"/v1/responses/{id}")):
            assert reply.json()["id"] == id
        following = post(
            {**asked, "previous_response_id": id, "stream": True}, "/v1/responses"
        )  # fmt: skip
        for reply in await everywhere(running, following):
            assert reply.status == 200, reply.body
            said_before = orjson.loads(asked_of(upstream)[-1].body)["messages"]
            assert [one["role"] for one in said_before] == ["user", "assistant", "user"]
        path = f"/v1/responses/{id}"
        gone = await running.ask(get(path).replace(b"GET", b"DELETE", 1))
        assert gone.json()["deleted"] is True
        for reply in await everywhere(running, get(path)):
            assert reply.status == 404, reply.body
    assert "Traceback" not in running.output
