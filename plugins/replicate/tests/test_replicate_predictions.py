"""Predictions against the stand-in, through a real kernel: what goes over the wire, and what comes
back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from h2o_relay.chunks import Chunk
from h2o_relay.errors import (
    FirstByteTimeout,
    IdleTimeout,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamTimeout,
)
from h2o_relay.kernel import Kernel
from h2o_relay.testing.scripts import hang, json, play, reset, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received, until
from h2o_relay_replicate.standin import GPT, OPTIONS, PAGE, TOKEN, VERSION, Cloud, events, problem

from .replicate_kit import NAME, chat, relayed

TEXT = "".join(Cloud().texts)
PATIENT = {**OPTIONS, "H2O_REPLICATE_CANCEL_TIMEOUT": "10"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


async def streamed(kernel: Kernel, **more: Any) -> list[Chunk]:
    async with kernel.stream("chat", chat("Hi", stream=True, **more)) as answer:
        return [chunk async for chunk in answer]


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def asked(cloud: Cloud) -> list[str]:
    """Methods and paths of all requests after the look at the model."""
    assert cloud.served is not None
    return [f"{request.method} {request.path.removeprefix('/v1')}" for request in requests(cloud)]


def requests(cloud: Cloud) -> list[Received]:
    assert cloud.served is not None
    return cloud.served.requests[1:]


async def failure(cloud: Cloud, how: str = "generate") -> RelayError:
    """What an answer of this cloud fails with."""
    async with relayed(cloud) as kernel:
        with pytest.raises(RelayError) as caught:
            await (streamed(kernel) if how == "stream" else kernel.generate("chat", chat("Hi")))
    return caught.value


# What goes over the wire.


async def test_an_answer_by_name() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        completion = await kernel.generate("chat", chat("Hi", max_tokens=9))
    assert completion.text == TEXT
    assert completion.usage == USAGE
    assert completion.data["id"] == "p1"
    assert asked(cloud) == ["POST /models/meta/llama/predictions", "GET /stream/p1",
                            "GET /predictions/p1"]  # fmt: skip
    create, follow, _ = requests(cloud)
    assert create.body == b'{"input":{"prompt":"Hi","max_tokens":9},"stream":true}'
    assert "prefer" not in create.headers, "it would hold the first piece back"
    assert follow.headers["accept"] == "text/event-stream"
    assert {request.headers["authorization"] for request in requests(cloud)} == {f"Bearer {TOKEN}"}
    assert cloud.cancelled == []


async def test_an_answer_by_version() -> None:
    cloud = Cloud()
    async with relayed(cloud, f"replicate:meta/llama:{VERSION}") as kernel:
        assert text(await streamed(kernel)) == TEXT
    assert cloud.served is not None
    assert cloud.served.requests[0].path == f"/v1/models/meta/llama/versions/{VERSION}"
    create = requests(cloud)[0]
    assert create.path == "/v1/predictions"
    assert create.json() == {"version": VERSION, "input": {"prompt": "Hi"}, "stream": True}


async def test_a_model_that_is_not_official_is_run_by_its_latest_version() -> None:
    cloud = Cloud(official=False)
    async with relayed(cloud) as kernel:
        assert text(await streamed(kernel)) == TEXT
    assert asked(cloud)[0] == "POST /predictions"


async def test_so_is_one_whose_name_is_answered_with_404() -> None:
    cloud = Cloud()
    cloud.faults.append(("POST /models", problem(404, "Not found", "no such thing")))
    async with relayed(cloud) as kernel:
        assert text(await streamed(kernel)) == TEXT
    assert asked(cloud)[:2] == ["POST /models/meta/llama/predictions", "POST /predictions"]
    assert len(cloud.predictions) == 1


async def test_the_schema_is_asked_for_once() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        for _ in range(3):
            await kernel.generate("chat", chat("Hi"))
    assert not [path for path in asked(cloud) if path.startswith("GET /models")]


async def test_a_request_does_not_need_the_list() -> None:
    """The model could not be looked at when the server was opened."""
    cloud = Cloud()
    cloud.faults.append(("GET /models", problem(500, "Oops", "down")))
    async with relayed(cloud) as kernel:
        (server,) = kernel.status()
        assert server.stage == "offline"
        assert (await kernel.generate("chat", chat("Hi"))).text == TEXT


async def test_a_model_that_does_not_exist_is_offline_with_the_reason() -> None:
    async with relayed(Cloud(), "replicate:meta/no-such") as kernel:
        (server,) = kernel.status()
    assert server.stage == "offline"
    assert "could not be found" in server.reason


async def test_kinds_are_told_with_the_model() -> None:
    async with relayed(Cloud(inputs={"messages": GPT["messages"]})) as kernel:
        (server,) = kernel.status()
    assert server.models[0].kinds == {"chat"}


async def test_what_the_model_has_no_input_for_is_reported() -> None:
    """Beside what no model takes, and before the first chunk."""
    asked = chat("Hi", top_k=3, logit_bias={}, temperature=0.5, max_tokens=9)
    async with relayed(Cloud(inputs=GPT)) as kernel:
        whole = await kernel.generate("chat", asked)
        async with kernel.stream("chat", asked) as answer:
            assert answer.dropped == whole.dropped == ("logit_bias", "temperature", "top_k")
            assert "".join([chunk.text async for chunk in answer]) == TEXT
        assert (await kernel.generate("chat", chat("Hi", max_tokens=9))).dropped == ()


async def test_text_completions() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        completion = await kernel.generate("text", {"model": NAME, "prompt": "Once"})
    assert completion.data["choices"][0]["text"] == TEXT
    assert requests(cloud)[0].json()["input"] == {
        "prompt": "Once", "prompt_template": "{prompt}", "system_prompt": "",
    }  # fmt: skip


# What comes back.


async def test_pieces_come_as_the_model_says_them() -> None:
    cloud = Cloud(pace=0.03)
    loop = asyncio.get_running_loop()
    async with relayed(cloud) as kernel:
        start, times = loop.time(), []
        params = chat("Hi", stream=True, stream_options={"include_usage": True})
        async with kernel.stream("chat", params) as answer:
            chunks = []
            async for chunk in answer:
                chunks.append(chunk)
                times.append(loop.time() - start)
    assert [chunk.text for chunk in chunks] == [*cloud.texts, "", ""]
    assert chunks[-2].finish_reason == "stop"
    assert chunks[-1].usage == USAGE
    assert times[-1] - times[0] > 0.05


async def test_no_usage_unless_asked_for() -> None:
    async with relayed(Cloud()) as kernel:
        assert [chunk.usage for chunk in await streamed(kernel)] == [None] * 6


@pytest.mark.parametrize(
    ("metrics", "limit", "reason"),
    [
        ({"input_token_count": 7, "output_token_count": 5}, 5, "length"),
        ({"input_token_count": 7, "output_token_count": 5}, 6, "stop"),
        ({"predict_time": 1.5}, 5, "stop"),
    ],
)
async def test_why_it_ended(metrics: dict[str, Any], limit: int, reason: str) -> None:
    async with relayed(Cloud(metrics=metrics)) as kernel:
        completion = await kernel.generate("chat", chat("Hi", max_tokens=limit))
        chunks = await streamed(kernel, max_tokens=limit)
    assert completion.finish_reason == reason
    assert chunks[-1].finish_reason == reason
    told = completion.usage or {}
    assert told == USAGE if "output_token_count" in metrics else told["estimated"]


async def test_a_list_that_grows_is_polled() -> None:
    cloud = Cloud(streams=False, pace=0.7)
    async with relayed(cloud) as kernel:
        chunks = await streamed(kernel)
    assert text(chunks) == TEXT
    assert len([chunk for chunk in chunks if chunk.text]) >= 2
    looks = [path for path in asked(cloud) if path == "GET /predictions/p1"]
    assert 3 <= len(looks) <= 300


async def test_a_text_at_the_end_is_waited_for_by_the_server() -> None:
    cloud = Cloud(streams=False, iterates=False, pace=0.02)
    async with relayed(cloud) as kernel:
        completion = await kernel.generate("chat", chat("Hi"))
    assert completion.text == TEXT
    assert completion.usage == USAGE
    assert asked(cloud) == ["POST /models/meta/llama/predictions"]
    assert requests(cloud)[0].headers["prefer"] == "wait=2"


async def test_a_text_that_takes_longer_is_polled() -> None:
    cloud = Cloud(streams=False, iterates=False, pace=0.05, longest_wait=0.05)
    async with relayed(cloud) as kernel:
        assert (await kernel.generate("chat", chat("Hi"))).text == TEXT
    assert asked(cloud)[1:].count("GET /predictions/p1") >= 1


async def test_throttled_looks_are_repeated_later() -> None:
    cloud = Cloud(streams=False, pace=0.03)
    throttled = problem(429, "Throttled", "slow down", {"retry-after": "0.1"})
    cloud.faults += [("GET /predictions", throttled)] * 2
    async with relayed(cloud) as kernel:
        assert (await kernel.generate("chat", chat("Hi"))).text == TEXT


@pytest.mark.parametrize("output", [{"url": "x"}, [{"a": 1}], 5])
async def test_output_that_is_no_text(output: Any) -> None:
    cloud = Cloud()
    state = {"id": "p9", "status": "succeeded", "output": output, "urls": {}}
    cloud.faults.append(("POST", json(state, 201)))
    error = await failure(cloud)
    assert isinstance(error, UpstreamBadResponse)
    assert "no text" in error.message


# Errors.


@pytest.mark.parametrize("how", ["generate", "stream"])
async def test_the_account_must_be_paid_for(how: str) -> None:
    cloud = Cloud()
    cloud.faults.append(("POST", problem(402, "Insufficient credit", "You have no credit.")))
    error = await failure(cloud, how)
    assert type(error) is UpstreamAuthError
    assert "You have no credit." in error.message


async def test_a_wrong_token() -> None:
    cloud = Cloud()
    env = {**OPTIONS, "REPLICATE_API_TOKEN": "r8_wrong"}
    async with relayed(cloud, env=env) as kernel:
        with pytest.raises(UpstreamAuthError) as caught:
            await kernel.generate("chat", chat("Hi"))
    assert "r8_wrong" not in caught.value.message


async def test_inputs_that_the_model_refuses() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        with pytest.raises(UpstreamRejected) as caught:
            await kernel.generate("chat", chat("Hi", top_k=-1))
    assert caught.value.status == 422
    assert "input.top_k: Must be greater than or equal to 0" in caught.value.message


async def test_a_throttled_creation_says_for_how_long() -> None:
    cloud = Cloud()
    throttled = problem(429, "Throttled", "Your rate limit resets in ~30s.",
                        {"ratelimit-reset": "30"})  # fmt: skip
    cloud.faults.append(("POST", throttled))
    error = await failure(cloud)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 30


@pytest.mark.parametrize("how", ["generate", "stream"])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_prediction_that_fails(streams: bool, how: str) -> None:
    cloud = Cloud(error=f"E1001: CUDA out of memory {TOKEN}", streams=streams, pace=0.01)
    error = await failure(cloud, how)
    assert type(error) is UpstreamBadResponse
    assert "CUDA out of memory" in error.message
    assert TOKEN not in error.message


@pytest.mark.parametrize("done", ["{}", '{"reason": "canceled"}'])
async def test_a_prediction_that_somebody_else_cancels(done: str) -> None:
    cloud = Cloud(pace=0.05)

    def stop(stored: Any, play: Any) -> Any:
        cloud.cancel(stored)
        cloud.cancelled.clear()
        pieces = events(["a"], done=False).steps[:-1]
        end = f"event: done\ndata: {done}\n\n".encode()
        return replace(play, steps=(*pieces, b"%x\r\n%b\r\n" % (len(end), end), b"0\r\n\r\n"))

    cloud.spoil = stop
    error = await failure(cloud, "stream")
    assert isinstance(error, UpstreamIncomplete)
    assert "canceled" in error.message
    assert cloud.cancelled == [], "it had ended already"


async def test_a_canceled_stream_is_cut_even_if_the_prediction_cannot_be_looked_at() -> None:
    cloud = Cloud()
    end = b'event: done\ndata: {"reason": "canceled"}\n\n'
    cloud.spoil = lambda _, play: whole(end, content_type="text/event-stream")
    cloud.faults.append(("GET /predictions", problem(500, "Oops", "down")))
    assert isinstance(await failure(cloud, "stream"), UpstreamIncomplete)


async def test_a_whole_answer_stands_although_its_metrics_are_not_to_be_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = Cloud()
    cloud.faults.append(("GET /predictions", problem(500, "Oops", "down")))
    async with relayed(cloud) as kernel:
        completion = await kernel.generate("chat", chat("Hi"))
    assert completion.text == TEXT
    assert (completion.usage or {})["estimated"] is True
    assert "how it ended is not known" in caplog.text


# Answers that are not JSON.


@pytest.mark.parametrize("start", ["GET /models", "GET /predictions", "GET /stream"])
async def test_a_page_instead_of_an_answer_is_asked_for_again(start: str) -> None:
    cloud = Cloud()
    ok = whole(b"<html></html>", 200, "text/html")
    cloud.faults += [(start, PAGE), (start, ok)]
    async with relayed(cloud) as kernel:
        completion = await kernel.generate("chat", chat("Hi"))
    assert (completion.text, completion.usage) == (TEXT, USAGE)
    assert len(cloud.predictions) == 1


async def test_a_long_page_in_place_of_a_stream_is_no_other_error() -> None:
    cloud = Cloud()
    cloud.faults.append(("GET /stream", whole(b"<html>" + b" " * 100_000, 502, "text/html")))
    async with relayed(cloud) as kernel:
        assert (await kernel.generate("chat", chat("Hi"))).text == TEXT


@pytest.mark.parametrize("streams", [True, False])
async def test_pages_without_end_are_reported(streams: bool) -> None:
    cloud = Cloud(streams=streams, pace=0.01)
    cloud.faults += [("GET /stream", PAGE), ("GET /predictions", PAGE)] * 9
    error = await failure(cloud, "stream")
    assert isinstance(error, UpstreamBadResponse)
    assert "<html>" not in error.message
    assert cloud.cancelled == ["p1"]


@pytest.mark.parametrize("page", [PAGE, whole(b"<html></html>", 200, "text/html")])
async def test_a_creation_that_may_have_succeeded_is_not_repeated(page: Any) -> None:
    cloud = Cloud()
    cloud.faults.append(("POST", page))
    error = await failure(cloud)
    assert isinstance(error, UpstreamError)
    assert "not known" in error.message
    assert [path for path in asked(cloud) if path.startswith("POST")] == [
        "POST /models/meta/llama/predictions"
    ]


async def test_a_creation_that_never_arrived_is_repeated() -> None:
    cloud = Cloud()
    cloud.faults += [("POST", whole(b"<html></html>", 521, "text/html"))] * 2
    async with relayed(cloud) as kernel:
        assert (await kernel.generate("chat", chat("Hi"))).text == TEXT
    assert len(cloud.predictions) == 1


async def test_a_url_outside_of_tls_is_not_followed() -> None:
    cloud = Cloud()
    state = {"id": "p9", "status": "starting", "urls": {"stream": "ftp://elsewhere/"}}
    cloud.faults.append(("POST /models", json(state, 201)))
    error = await failure(cloud, "stream")
    assert "URL that cannot be used" in error.message


# Leaving.


async def until_created(cloud: Cloud) -> None:
    await until(lambda: cloud.predictions, within=2)


@pytest.mark.parametrize("how", ["generate", "stream"])
@pytest.mark.parametrize("streams", [True, False])
async def test_leaving_cancels_the_prediction(streams: bool, how: str) -> None:
    cloud = Cloud(streams=streams, pace=0.1)
    async with relayed(cloud) as kernel:
        work = streamed(kernel) if how == "stream" else kernel.generate("chat", chat("Hi"))
        asking = asyncio.create_task(work)
        await until_created(cloud)
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert cloud.cancelled == ["p1"]
    assert cloud.predictions["p1"].ended == "canceled"


async def test_leaving_while_it_is_created_cancels_it() -> None:
    cloud = Cloud(streams=False, iterates=False, pace=0.04)  # the creation is held back
    async with relayed(cloud) as kernel:
        asking = asyncio.create_task(kernel.generate("chat", chat("Hi")))
        await until_created(cloud)
        cloud.pace = 10.0
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert cloud.cancelled == ["p1"]


async def test_leaving_twice_still_cancels_it() -> None:
    cloud = Cloud(pace=0.1)
    cloud.faults.append(("POST /predictions/p1/cancel", play(0.1, *PAGE.steps)))
    async with relayed(cloud, env=PATIENT) as kernel:
        asking = asyncio.create_task(streamed(kernel))
        await until_created(cloud)
        await asyncio.sleep(0.05)
        for _ in range(3):
            asking.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert cloud.cancelled == ["p1"], "asked for again after the page"


async def test_cancelling_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(pace=0.1)
    cloud.faults.append(("POST /predictions/p1/cancel", play(hang)))
    loop = asyncio.get_running_loop()
    hasty = {**OPTIONS, "H2O_REPLICATE_CANCEL_TIMEOUT": "0.3"}
    async with relayed(cloud, env=hasty) as kernel:
        async with kernel.stream("chat", chat("Hi", stream=True)):
            start = loop.time()
        assert loop.time() - start < 10
    assert "could not be cancelled within 0.3 s" in caplog.text


async def test_a_prediction_that_cannot_be_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = Cloud(pace=0.1)
    cloud.faults.append(("POST /predictions/p1/cancel", problem(500, "Oops", "down")))
    async with relayed(cloud) as kernel, kernel.stream("chat", chat("Hi", stream=True)):
        pass
    assert "prediction p1 could not be cancelled" in caplog.text


async def test_a_stream_that_breaks_leaves_nothing_running() -> None:
    cloud = Cloud(pace=0.02)
    cloud.spoil = lambda _, good: good.upto(4) + play(reset)
    await failure(cloud, "stream")
    assert cloud.cancelled == ["p1"]


# Patience.


@pytest.mark.parametrize(
    ("how", "pace", "kind"),
    [
        ("stream", 9.0, FirstByteTimeout),
        ("stream", 3.0, IdleTimeout),
        ("generate", 9.0, UpstreamTimeout),
    ],
)
async def test_silence_of_a_polled_prediction(
    how: str, pace: float, kind: type[RelayError]
) -> None:
    cloud = Cloud(streams=False, pace=pace)
    if kind is IdleTimeout:
        cloud.texts = ("a", "b", "c")
    first = 20.0 if kind is IdleTimeout else 0.5
    settings = quick(first_byte_timeout=first, idle_timeout=0.1, answer_timeout=0.4)
    async with relayed(cloud, settings=settings) as kernel:
        work: Callable[[], Any] = (
            (lambda: streamed(kernel))
            if how == "stream"
            else (lambda: kernel.generate("chat", chat("Hi")))
        )
        with pytest.raises(kind):
            await asyncio.wait_for(work(), 20)
    assert cloud.cancelled == ["p1"]


async def test_a_slow_prediction_that_goes_on_is_waited_for() -> None:
    cloud = Cloud(streams=False, pace=0.6, texts=tuple("abcdef"))
    settings = quick(first_byte_timeout=5.0, idle_timeout=3.0)
    async with relayed(cloud, settings=settings) as kernel:
        assert text(await streamed(kernel)) == "abcdef"


async def test_a_creation_that_is_held_back_has_time_for_that() -> None:
    cloud = Cloud(streams=False, iterates=False, pace=0.08)
    async with relayed(cloud, settings=quick(first_byte_timeout=0.2)) as kernel:
        assert text(await streamed(kernel)) == TEXT


async def test_connections_are_used_again_after_a_stream() -> None:
    cloud = Cloud()
    async with relayed(cloud) as kernel:
        for _ in range(4):
            await streamed(kernel)
        assert cloud.served is not None
        assert cloud.served.accepted <= 2
