"""What goes over the wire, byte for byte, for each protocol: calls, cancels, refusals."""

from __future__ import annotations

import ast
import asyncio

import orjson
import pytest

from h2o_relay.errors import (
    FirstByteTimeout,
    IdleTimeout,
    InvalidRequest,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamRejected,
    UpstreamUnavailable,
)
from h2o_relay.testing.scripts import hang, json, play, stream, whole
from h2o_relay.testing.upstream import until
from h2o_relay_gradio_remote.standin import (
    EVENT,
    component,
    dependency,
    h2ogpt_config,
    message,
    named,
    told,
)

from .gradio_remote_site import (
    CALL,
    DIRECT,
    HELLO,
    OLD_QUEUE,
    QUEUE,
    TEXTS,
    Asked,
    Site,
    call_site,
    completed,
    lines,
    queue_site,
    relay,
    said,
)


async def test_a_call_of_gradio_6() -> None:
    site = call_site(
        named("generating", [told(TEXTS, False)[0]]), named("heartbeat", None), completed("Hello")
    )
    async with relay(site) as (kernel, upstream):
        assert await said(kernel) == ["Hel", "lo"]
        assert lines(upstream) == [
            "POST /gradio_api/call/submit_nochat_api",
            f"GET /gradio_api/call/submit_nochat_api/{EVENT}",
        ]
        body = upstream.requests[0].json()
    state, argument = body["data"]
    assert body.keys() == {"data"}
    assert state is None
    assert ast.literal_eval(argument) == {
        "instruction_nochat": "Hello",
        "prompt_type": "",
        "chat_conversation": [],
        "stream_output": True,
        "visible_models": "big",
    }


async def test_a_call_of_gradio_4() -> None:
    first, second, third = told(("Hel", "lo", "!"), False)
    site = queue_site(
        message("estimation", rank=1, queue_size=2),
        b'data: {"msg":"heartbeat","event_id":null}\n\n',
        message("process_starts"),
        message("process_generating", success=True, output={"data": [first]}),
        b'data: {"msg":"process_generating","event_id":"other","success":true,"output":{}}\n\n',
        message("process_generating", success=True, output={"data": [[["replace", [], second]]]}),
        message("log", log="fine", level="info"),
        message("process_completed", success=True, output={"data": [third]}),
    )
    async with relay(site) as (kernel, upstream):
        assert await said(kernel) == ["Hel", "lo", "!"]
        join, data = upstream.requests
        body = join.json()
    assert join.path == "/queue/join"
    assert body["fn_index"] == 0
    assert body["data"][0] is None
    assert data.path == f"/queue/data?session_hash={body['session_hash']}"


@pytest.mark.parametrize("config", [DIRECT, h2ogpt_config("4.1.0", "sse")])
async def test_gradio_3_answers_in_one_piece(config: Asked) -> None:
    answer = {"data": [repr({"response": "Hello"})], "is_generating": False, "duration": 0.1}
    site = Site(config).on("/run/submit_nochat_plain_api", json(answer))
    async with relay(site) as (kernel, upstream):
        assert await said(kernel) == ["Hello"]
        assert (await kernel.generate("chat", {"messages": HELLO})).text == "Hello"
        assert lines(upstream) == ["POST /run/submit_nochat_plain_api"] * 2
        assert upstream.requests[0].json()["fn_index"] == 1


async def test_a_first_piece_of_gradio_3_is_no_answer() -> None:
    answer = {"data": [repr({"response": "Hel"})], "is_generating": True}
    site = Site(DIRECT).on("/run/submit_nochat_plain_api", json(answer))
    async with relay(site) as (kernel, _):
        with pytest.raises(UpstreamBadResponse, match="first piece"):
            await said(kernel)


@pytest.mark.parametrize(
    ("config", "path", "session_is_event"),
    [(CALL, "/gradio_api/cancel", True), (QUEUE, "/cancel", False), (OLD_QUEUE, "/reset", False)],
)
@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_leaving_calls_cancel(
    config: Asked, path: str, session_is_event: bool, how: str
) -> None:
    if config is CALL:
        site = call_site()
        begun = stream([named("generating", [told(TEXTS, False)[0]])]).upto(1) + play(hang)
        site.on(f"/gradio_api/call/submit_nochat_api/{EVENT}", begun)
    else:
        first = message("process_generating", success=True, output={"data": told(TEXTS, False)[:1]})
        site = Site(config).on("/queue/data", stream([first]).upto(1) + play(hang))
    async with relay(site) as (kernel, upstream):
        if how == "leave":
            async with kernel.stream("chat", {"messages": HELLO, "stream": True}) as answer:
                assert (await anext(aiter(answer))).text == "Hel"
        else:
            task = asyncio.create_task(kernel.generate("chat", {"messages": HELLO}))
            await until(lambda: len(upstream.requests) == 2 and upstream.answering, within=2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        join, _, cancel = upstream.requests
        assert len(upstream.gone) == 1
    session = EVENT if session_is_event else join.json()["session_hash"]
    assert cancel.path == path
    assert cancel.json() == {"event_id": EVENT, "session_hash": session, "fn_index": 0}


async def test_a_cancel_call_that_fails_hurts_nobody() -> None:
    begun = stream([named("generating", [told(TEXTS, False)[0]])]).upto(1) + play(hang)
    site = call_site().on(f"/gradio_api/call/submit_nochat_api/{EVENT}", begun)
    site.on("/gradio_api/cancel", json({"detail": "no"}, 500))
    async with relay(site) as (kernel, upstream):
        async with kernel.stream("chat", {"messages": HELLO, "stream": True}) as answer:
            await anext(aiter(answer))
        assert lines(upstream)[-1] == "POST /gradio_api/cancel"


@pytest.mark.parametrize(
    ("status", "wanted"),
    [(401, UpstreamAuthError), (422, UpstreamRejected), (500, UpstreamBadResponse),
     (503, UpstreamUnavailable)],
)  # fmt: skip
@pytest.mark.parametrize("config", [CALL, QUEUE])
async def test_a_refused_join(config: Asked, status: int, wanted: type[RelayError]) -> None:
    site = Site(config)
    for path in ("/gradio_api/call/submit_nochat_api", "/queue/join"):
        site.on(path, json({"detail": "the reason"}, status, {"retry-after": "7"}))
    async with relay(site) as (kernel, upstream):
        with pytest.raises(wanted) as caught:
            await said(kernel)
        assert len(upstream.requests) == 1
    if status == 503:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize("cut", [False, True])
async def test_a_long_page_or_half_of_one_is_what_its_status_says(cut: bool) -> None:
    page = whole(b"<html>" + b" " * 100_000, 503, "text/html")
    script = play(page.wire[:200]) if cut else page
    site = Site(CALL).on("/gradio_api/call/submit_nochat_api", script)
    async with relay(site) as (kernel, _):
        with pytest.raises(UpstreamUnavailable):
            await said(kernel)


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b"{}", b'{"event_id": 5}', b'{"event_id": "../../x"}']
)
async def test_a_join_that_says_no_event(body: bytes) -> None:
    site = Site(CALL).on("/gradio_api/call/submit_nochat_api", whole(body))
    async with relay(site) as (kernel, _):
        with pytest.raises(UpstreamBadResponse):
            await said(kernel)


@pytest.mark.parametrize(
    ("event", "wanted", "match"),
    [
        (named("error", None), UpstreamBadResponse, "show_error"),
        (named("error", "Server stopped."), UpstreamBadResponse, "Server stopped"),
        (named("error", {"error": "boom"}), UpstreamBadResponse, "boom"),
        (named("complete", []), UpstreamBadResponse, "no data"),
        (named("complete", None), UpstreamBadResponse, "no data"),
        (named("complete", ["__import__('os').getcwd()"]), UpstreamBadResponse, "literal"),
        (named("complete", ["(" * 5000]), UpstreamBadResponse, "literal"),
        (named("complete", ["[1]"]), UpstreamBadResponse, "not a dict"),
        (named("complete", ["{'response': 5}"]), UpstreamBadResponse, "no response"),
        (completed("x", error="out of memory"), UpstreamBadResponse, "out of memory"),
        (completed("x", save_dict={"error": "late"}), UpstreamBadResponse, "late"),
        (completed("x", save_dict={"valid_key": False}), UpstreamAuthError, "h2ogpt_key"),
        (b"event: complete\ndata: [\n\n", UpstreamBadResponse, "JSON"),
    ],
)
async def test_what_a_call_can_end_with(event: bytes, wanted: type[RelayError], match: str) -> None:
    async with relay(call_site(event)) as (kernel, _):
        with pytest.raises(wanted, match=match):
            await said(kernel)
        with pytest.raises(wanted, match=match):
            await kernel.generate("chat", {"messages": HELLO})


@pytest.mark.parametrize(
    ("event", "wanted", "match"),
    [
        (message("queue_full"), UpstreamUnavailable, "queue is full"),
        (message("unexpected_error", message="gone"), UpstreamBadResponse, "gone"),
        (message("process_completed", success=False, output={"error": None}),
         UpstreamBadResponse, "show_error"),
        (message("process_generating", success=False, output={"error": "mid"}),
         UpstreamBadResponse, "mid"),
        (message("process_generating", success=True, output={"data": []}),
         UpstreamBadResponse, "no data"),
        (b"data: []\n\n", UpstreamBadResponse, "wrong shape"),
    ],
)  # fmt: skip
async def test_what_the_queue_can_say(event: bytes, wanted: type[RelayError], match: str) -> None:
    async with relay(queue_site(event)) as (kernel, _):
        with pytest.raises(wanted, match=match):
            await said(kernel)


async def test_heartbeats_are_no_answer() -> None:
    beats = [named("heartbeat", None)] * 40
    path = f"/gradio_api/call/submit_nochat_api/{EVENT}"
    before = call_site().on(path, stream(beats).paced(0.02))
    async with relay(before, first_byte_timeout=0.2) as (kernel, _):
        with pytest.raises(FirstByteTimeout):
            await said(kernel)
    first = named("generating", [told(TEXTS, False)[0]])
    after = call_site().on(path, stream([first, *beats]).paced(0.02))
    async with relay(after, idle_timeout=0.2) as (kernel, _):
        with pytest.raises(IdleTimeout):
            await said(kernel)


async def test_a_restarted_app_is_read_again() -> None:
    site = queue_site(
        message("process_completed", success=True, output={"data": told(["x"], True)[1:]})
    )
    async with relay(site, refresh=0.1) as (kernel, upstream):
        moved = orjson.loads(orjson.dumps(QUEUE))
        moved["dependencies"][0]["id"] = 17
        site.on("/config", json(moved))
        await until(lambda: lines(upstream).count("GET /config") >= 2, within=3)
        upstream.requests.clear()
        await said(kernel)
        joins = [item.json() for item in upstream.requests if item.path == "/queue/join"]
    assert [join["fn_index"] for join in joins] == [17]


async def test_a_chat_of_gradio_4_takes_one_message() -> None:
    config = {
        **QUEUE,
        "components": [
            component(1, "textbox"),
            component(2, "state"),
            component(3, "slider", value=5),
        ],
        "dependencies": [dependency(4, "chat", [1, 2, 3], [1, 2])],
    }
    site = queue_site(
        message("process_generating", success=True, output={"data": ["Hel", None]}),
        message("process_generating", success=True, output={"data": [[["append", [], "lo"]], []]}),
        message("process_completed", success=True, output={"data": ["Hello", None]}),
        config=config,
    )
    async with relay(site, "{url}") as (kernel, upstream):
        assert await said(kernel) == ["Hel", "lo"]
        assert upstream.requests[0].json()["data"] == ["Hello", None, 5]
        with pytest.raises(InvalidRequest, match="no history"):
            await said(kernel, messages=[*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO])
