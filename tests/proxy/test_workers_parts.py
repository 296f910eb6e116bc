"""What workers have in common, part by part."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from h2o_relay.accounting.record import Record
from h2o_relay.errors import NotFound
from h2o_relay.settings import SettingError
from h2o_relay.testing.settings import quick
from h2o_relay.workers.channel import Channel, Handlers
from h2o_relay_proxy.dialects.responding import referred
from h2o_relay_proxy.dialects.responses import Kept
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.seeing.metrics import MOST, Metrics, Snapshot
from h2o_relay_proxy.workers.shared_kept import SharedKept, kept_handlers
from h2o_relay_proxy.workers.shared_metrics import Adding, Telling, merged
from h2o_relay_proxy.workers.sockets import DEALS_OUT, worker_sockets

OWNER = "somebody"


Connect = Callable[[Handlers], Awaitable[Channel]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Gives channels to whoever has these handlers."""
    made: list[Channel] = []

    async def to(handlers: Handlers) -> Channel:
        one, other = socket.socketpair()
        made.extend([await Channel.over(one, {}), await Channel.over(other, handlers)])
        return made[-2]

    yield to
    for each in made:
        each.close()
        await each.closed


def record(model: str = "m", **more: Any) -> Record:
    made = {"id": "x", "at": 0.0, "method": "POST", "route": "/v1/chat/completions",
            "status": 200, "attempts": 1, "prompt_tokens": 3, "completion_tokens": 5}  # fmt: skip
    return Record(model=model, **{**made, **more})


# Responses.


@pytest.fixture
async def workers(connect: Connect) -> list[SharedKept]:
    """What three workers have of one coordinator's."""
    central = Kept()
    return [SharedKept(await connect(kept_handlers(central))) for _ in range(3)]


def kept_by(kept: Kept, id: str) -> bool:
    item = {"type": "message", "id": f"msg_{id}", "content": "hi"}
    return kept.keep(OWNER, (), [item], id, b'{"id":"' + id.encode() + b'"}', [])


async def test_a_response_is_found_by_whoever_asks(workers: list[SharedKept]) -> None:
    one, other, _ = workers
    assert kept_by(one, "resp_1")
    await other.bring(OWNER, ["msg_resp_1"])
    assert other.find(OWNER, "resp_1").body == b'{"id":"resp_1"}'
    item = other.item(OWNER, "msg_resp_1")
    assert item is not None
    assert item["content"] == "hi"
    await other.bring("somebody else", ["resp_1"])
    assert not other.has("somebody else", "resp_1")


async def test_a_response_that_was_deleted_is_gone_for_all(workers: list[SharedKept]) -> None:
    one, other, _ = workers
    assert kept_by(one, "resp_1")
    await other.bring(OWNER, ["resp_1"])
    other.remove(OWNER, "resp_1")
    await one.bring(OWNER, ["resp_1", "msg_resp_1"])
    with pytest.raises(NotFound):
        one.find(OWNER, "resp_1")
    assert not one.has_item(OWNER, "msg_resp_1")


async def test_what_is_brought_is_not_kept_anew(workers: list[SharedKept]) -> None:
    """Else one who reads while another deletes would bring it back."""
    one, other, third = workers
    assert kept_by(one, "resp_1")
    await other.bring(OWNER, ["resp_1"])
    one.remove(OWNER, "resp_1")
    await asyncio.sleep(0.05)
    await third.bring(OWNER, ["resp_1"])
    assert not third.has(OWNER, "resp_1")


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({}, []),
        ({"input": "text"}, []),
        ({"previous_response_id": "resp_1", "input": 3}, ["resp_1"]),
        ({"input": [{"id": "a"}, {"id": 4}, "b", None, {"type": "message"}]}, ["a"]),
        ({"previous_response_id": {"a": 1}, "input": {"id": "c"}}, []),
    ],
)
def test_what_a_request_may_go_on_from(params: dict[str, Any], ids: list[str]) -> None:
    assert referred(params) == ids


# Metrics.


def total(snapshot: Snapshot) -> int:
    return sum(sum(series.outcomes.values()) for series in snapshot.series.values())


async def test_metrics_are_the_sum_of_all_also_of_those_that_are_gone(connect: Connect) -> None:
    counting = {name: Metrics() for name in ("1", "2")}
    channels: dict[str, Channel] = {}
    for name, metrics in counting.items():
        channels[name] = await connect({"counted": Telling(metrics).counted})
    adding = Adding(None, False, lambda: channels, lambda: {"usage": 1})  # type: ignore[arg-type]

    async def counted() -> Snapshot:
        await adding._ask_all()
        return merged([adding._gone, *adding._latest.values()], keys=False)

    counting["1"].note(record("a"))
    counting["2"].note(record("a"))
    counting["2"].note(record("b", status=500, code="internal_error"))
    counting["2"].in_flight = 3
    found = await counted()
    assert (total(found), found.in_flight, len(found.series)) == (3, 3, 2)
    assert total(await counted()) == 3  # told once
    counting["1"].note(record("b"))
    found = await counted()
    series = next(series for labels, series in found.series.items() if labels.model == "a")
    assert (series.duration.counts[0], series.prompt.sum) == (2, 6.0)
    del channels["2"]
    adding.forget("2")
    found = await counted()
    assert (total(found), found.in_flight) == (4, 0)


def test_labels_stay_few() -> None:
    many = Metrics(most=2 * MOST)
    for number in range(MOST + 10):
        many.note(record(f"m{number}"))
    found = merged([many.snapshot(None), many.snapshot(None)], keys=False)
    assert len(found.series) == MOST + 1  # and `other`
    assert total(found) == 2 * (MOST + 10)


# Sockets.


def test_workers_have_the_same_port() -> None:
    settings = quick(openai_port=0, workers=3)
    with worker_sockets(settings) as made:
        ports = {each.getsockname()[1] for each in made}
        assert (len(made), len(ports)) == (3, 1)
        assert len({each.fileno() for each in made}) == (3 if DEALS_OUT else 1)
        taken = quick(openai_port=ports.pop(), workers=2)
        with pytest.raises(SettingError, match="in use"), worker_sockets(taken):
            pass


def test_a_port_of_somebody_else_is_not_shared() -> None:
    with bind("127.0.0.1", 0) as other:
        taken = quick(openai_port=other.getsockname()[1], workers=2)
        with pytest.raises(SettingError, match="in use"), worker_sockets(taken):
            pass
