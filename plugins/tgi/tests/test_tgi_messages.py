"""The Messages API, against the stand-in and by a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

import h2o_relay_tgi
from h2o_relay.errors import (
    ContextTooLong,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    UpstreamRejected,
)
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing import scripts
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay_tgi.conformance import own_event

from .tgi_kit import MESSAGES, Bench, bench, reason, said, usage
from .tgi_rules import Refused
from .tgi_standin import MODEL, TgiStandIn, standing

SAYS = "Parrots eat seeds, nuts and fruit."


@pytest.fixture
async def tgi() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def test_chat_and_its_stream(tgi: Bench) -> None:
    whole = await tgi.generate("chat", max_tokens=50, temperature=0)
    chunks = await tgi.stream("chat", stream_options={"include_usage": True})
    assert whole.text == said(chunks) == SAYS
    assert whole.usage == usage(chunks)[0]
    assert reason(chunks) == ["stop"]
    assert tgi.paths == ["/v1/chat/completions"] * 2
    assert tgi.upstream.requests[0].json() == {
        "model": MODEL, "messages": MESSAGES, "max_tokens": 50, "temperature": 0,
    }  # fmt: skip


async def test_what_openais_clients_send_is_taken(tgi: Bench) -> None:
    """Each of these TGI itself refuses, or reads as something else."""
    awkward: dict[str, Any] = {
        "top_p": 1, "presence_penalty": 0, "logit_bias": {"1": 2}, "stop": "never",
        "max_completion_tokens": 3, "response_format": {"type": "json_object"}, "seed": -1,
    }  # fmt: skip
    whole = await tgi.generate("chat", **awkward)
    assert whole.finish_reason == "length"
    assert (tgi.sent["repetition_penalty"], tgi.sent["max_new_tokens"]) == (None, 3)
    assert reason(await tgi.stream("chat", **awkward)) == ["length"]


@pytest.mark.parametrize("stop", [" nuts", "nuts", " seeds, nuts", "s, n"])
async def test_the_stop_sequence_is_not_in_the_text(tgi: Bench, stop: str) -> None:
    until_stop = SAYS[: SAYS.index(stop)]
    whole = await tgi.generate("chat", stop=stop)
    assert (whole.text, whole.finish_reason) == (until_stop, "stop")
    chunks = await tgi.stream("chat", stop=[stop])
    assert (said(chunks), reason(chunks)) == (until_stop, ["stop"])
    chunks = await tgi.stream("chat", stop=["a", "b", "c", "d", stop])
    assert (said(chunks), reason(chunks)) == ("P", ["stop"])


async def failure(tgi: Bench, how: str, **params: Any) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await (tgi.stream("chat", **params) if how == "stream" else tgi.generate("chat", **params))
    return caught.value


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize("how", ["generate", "stream"])
async def test_too_long_an_input_is_a_context_error(how: str, hides: bool) -> None:
    """TGI 2.2 to 3.0 say nothing of it in a stream; they are asked again, unstreamed."""
    async with bench(hides_stream_errors=hides) as tgi:
        error = await failure(tgi, how, max_tokens=1000)
        assert type(error) is ContextTooLong
        assert "`inputs` tokens + `max_new_tokens` must be <= 128." in error.message
        assert len(tgi.paths) == 1 + (hides and how == "stream")


async def test_an_answer_that_an_empty_stream_hides_is_given_after_all(tgi: Bench) -> None:
    whole = tgi.tgi.play

    async def empty(request: Received, answer: Answer) -> None:
        if request.json().get("stream"):
            await scripts.sse([])(request, answer)
        else:
            await whole(request)(request, answer)

    tgi.upstream.script = empty
    chunks = await tgi.stream("chat", stream_options={"include_usage": True})
    assert said(chunks) == SAYS
    assert reason(chunks) == ["stop"]
    assert len(usage(chunks)) == 1


@pytest.mark.parametrize("how", ["generate", "stream"])
@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("overloaded", RateLimited), ("validation", UpstreamRejected),
        ("generation", UpstreamBadResponse), ("template_error", UpstreamRejected),
    ],
)  # fmt: skip
async def test_tgis_errors(how: str, kind: str, wanted: type[RelayError]) -> None:
    async with bench(fails=Refused(kind, "TGI's own words")) as tgi:
        error = await failure(tgi, how)
    assert type(error) is wanted
    assert "TGI's own words" in error.message


async def test_an_error_of_version_3_in_a_stream(tgi: Bench) -> None:
    error = {"error": {"message": "`inputs` cannot be empty", "http_status_code": 422}}
    good = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
    tgi.upstream.script = scripts.stream([own_event(good) + own_event(error)])
    chunks = h2o_relay_tgi.stream(tgi.server, tgi.client, tgi.request("chat", stream=True))
    assert (await anext(chunks)).text == "hi"
    with pytest.raises(UpstreamRejected, match="cannot be empty"):
        await anext(chunks)


async def test_the_first_versions_words_become_openais(tgi: Bench) -> None:
    """1.4: TGI's own finish reasons, and `text_completion` everywhere."""
    head = {"id": "", "object": "text_completion", "created": 1, "model": MODEL}
    delta = {"role": "assistant", "content": "hi"}
    events = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "eos_token"}]},
    ]
    tgi.upstream.script = scripts.stream([own_event(event) for event in events])
    chunks = await tgi.stream("chat")
    assert said(chunks) == "hi"
    assert reason(chunks) == ["stop"]
    assert {e["object"] for c in chunks for e in c.events()} == {"chat.completion.chunk"}
    choice = {"index": 0, "message": delta, "finish_reason": "stop_sequence"}
    tgi.upstream.script = scripts.json({**head, "choices": [choice]})
    whole = await tgi.generate("chat")
    assert (whole.data["object"], whole.finish_reason) == ("chat.completion", "stop")
    assert orjson.loads(whole.body) == whole.data


async def test_tool_calls_become_openais(tgi: Bench) -> None:
    """2.4: arguments are an object, and the call of an event is no list."""
    function = {"description": None, "name": "weather", "arguments": {"city": "Graz"}}
    message = {
        "role": "assistant",
        "tool_calls": [{"id": 0, "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    tgi.upstream.script = scripts.json({"object": "chat.completion", "choices": [choice]})
    (call,) = (await tgi.generate("chat")).data["choices"][0]["message"]["tool_calls"]
    assert call == {
        "id": "0", "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Graz"}'},
    }  # fmt: skip
    piece = {"index": 0, "id": "", "type": "function", "function": {"name": None, "arguments": "{"}}
    delta = {"role": "assistant", "tool_calls": piece}
    event = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    tgi.upstream.script = scripts.stream([own_event(event), own_event(last)])
    (first, _) = await tgi.stream("chat")
    assert first.events()[0]["choices"][0]["delta"]["tool_calls"] == [piece]


async def test_an_event_that_is_not_json_is_the_kernels_to_refuse() -> None:
    async def script(request: Received, answer: Answer) -> None:
        if request.path == "/info":
            await TgiStandIn().play(request)(request, answer)
        else:
            await scripts.stream([b'data: {"error":\n\n'])(request, answer)

    async with bench() as tgi:
        tgi.upstream.script = script
        async with relay(f"tgi:{tgi.upstream.url}") as kernel:
            with pytest.raises(UpstreamBadResponse, match="not JSON"):
                await streamed(kernel)


def relay(*servers: str) -> Kernel:
    return Kernel(quick(), list(servers), Plugins.of(tgi=h2o_relay_tgi))


async def streamed(kernel: Kernel, **params: Any) -> str:
    asked = {"model": MODEL, "messages": MESSAGES, "stream": True, **params}
    async with kernel.stream("chat", asked) as answer:
        return "".join([chunk.text async for chunk in answer])


async def test_through_a_kernel() -> None:
    async with standing(TgiStandIn()) as upstream, relay(f"tgi:{upstream.url}") as kernel:
        await kernel.settled(20)
        (deployment,) = kernel.models()
        assert (deployment.model, deployment.max_context) == (MODEL, 128)
        assert await streamed(kernel) == SAYS
        whole = await kernel.generate("text", {"model": MODEL, "prompt": "hi", "n": None, "x": 1})
        assert whole.text == SAYS
        assert set(whole.dropped) == {"n", "x"}
        chat = await kernel.generate("chat", {"messages": MESSAGES, "top_k": 4, "n": 2, "seed": 1})
        assert chat.text == SAYS
        assert set(chat.dropped) == {"n", "top_k"}


async def test_a_version_without_messages_gets_a_rendered_prompt() -> None:
    tgi = TgiStandIn(version="1.3.4")
    async with standing(tgi) as upstream, relay(upstream.url) as kernel:
        await kernel.settled(20)
        assert await streamed(kernel) == SAYS
        whole = await kernel.generate("chat", {"model": MODEL, "messages": MESSAGES})
    assert whole.data["choices"][0]["message"]["content"] == SAYS
    assert "What do parrots eat?" in tgi.asked[-1]["inputs"]
    posts = [request.path for request in upstream.requests if request.method == "POST"]
    assert {"/generate_stream", "/generate"} <= set(posts) <= {
        "/generate_stream", "/generate", "/tokenize",
    }  # fmt: skip


async def test_a_bare_url_is_recognised() -> None:
    async with standing(TgiStandIn()) as upstream, relay(upstream.url) as kernel:
        await kernel.settled(20)
        (server,) = kernel.status()
        assert server.stage == "ready"
        assert server.server.plugin == "tgi"
        assert await streamed(kernel) == SAYS


@pytest.mark.parametrize(
    "string",
    ["{url}    Bearer    tok:en", "tgi:{url}    Bearer    tok:en", "tgi:{url}:None:tok"],
)
async def test_bearer_credentials(string: str) -> None:
    token = "tok:en" if "Bearer" in string else "tok"
    server = TgiStandIn(authorization=f"Bearer {token}")
    async with standing(server) as upstream, relay(string.format(url=upstream.url)) as kernel:
        await kernel.settled(20)
        assert await streamed(kernel) == SAYS
        sent = {r.headers["authorization"] for r in upstream.requests if r.method == "POST"}
        assert sent == {f"Bearer {token}"}


async def test_user_and_password_are_basic_credentials() -> None:
    basic = "Basic dXNlcjpwQHNz"  # user:p@ss
    async with standing(TgiStandIn(authorization=basic)) as upstream:
        host = upstream.url.removeprefix("http://")
        for text in (f"http://{host}:user:p@ss", f"tgi:http://user:p%40ss@{host}"):
            async with relay(text) as kernel:
                await kernel.settled(20)
                assert await streamed(kernel) == SAYS
        async with relay(f"tgi:{upstream.url}") as kernel:
            await kernel.settled(20)
            with pytest.raises(UpstreamAuthError):
                await streamed(kernel)


async def test_a_cut_stream_is_incomplete(tgi: Bench) -> None:
    whole = tgi.tgi.play

    async def cut(request: Received, answer: Answer) -> None:
        if request.path == "/info":
            await whole(request)(request, answer)
        else:
            await (whole(request).upto(2) + scripts.play(scripts.LAST))(request, answer)

    tgi.upstream.script = cut
    async with relay(f"tgi:{tgi.upstream.url}") as kernel:
        await kernel.settled(20)
        for params in ({}, {"stop": "x"}):
            with pytest.raises(UpstreamIncomplete):
                await streamed(kernel, **params)
