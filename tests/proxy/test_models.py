"""What is listed, what is asked for, and that both ways the bytes stay what they were."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from h2o_relay.testing.scripts import hang, json, play, sse, whole
from h2o_relay.testing.upstream import Answer, Received

from .kit import (
    MESSAGES,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    listing,
    post,
    relay,
    said,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ["org/model", "a b", "Ünï/🦆", "m:latest", "q?x#y%2F", "__proto__", "x" * 1000]


async def test_the_list() -> None:
    async with relay(models=listing(*NAMES)) as running:
        data = (await running.ask(get("/v1/models"))).json()
        assert data["object"] == "list"
        assert [entry["id"] for entry in data["data"]] == NAMES
        for entry in data["data"]:
            assert entry["object"] == "model"
            assert isinstance(entry["created"], int)
            assert entry["owned_by"] == "vllm"
        assert str(running.upstream.port) not in orjson.dumps(data).decode()


def quoted(name: str, slash: str) -> str:
    return "".join(
        c if c.isascii() and c.isalnum() else slash if c == "/"
        else "".join(f"%{byte:02X}" for byte in c.encode())
        for c in name
    )  # fmt: skip


async def test_one_model_by_its_name() -> None:
    async with relay(models=listing(*NAMES)) as running:
        for name in NAMES:
            for slash in ("/", "%2F", "%2f"):
                reply = await running.ask(get(f"/v1/models/{quoted(name, slash)}"))
                assert reply.json()["id"] == name


async def test_models_that_do_not_exist() -> None:
    paths = ["nope", "org", "org/", "org/model/", "..", "%2e%2e", "%00", "%ff%fe", "%ED%A0%80",
             "%3Cscript%3E", "__proto__x", "x" * 10_000, "a%0d%0aX:%20y"]  # fmt: skip
    async with relay(models=listing(*NAMES)) as running:
        for path in paths:
            reply = await running.ask(get(f"/v1/models/{path}"))
            assert_error(reply, 404, "model_not_found", "invalid_request_error")
            assert reply.error["param"] == "model"
            assert not set(reply.error["message"]) & set("<>&\r\n\0")
            assert len(reply.error["message"]) < 400


async def test_not_ready_until_a_model_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
    monkeypatch.setattr("h2o_relay_proxy.app.LIST_WAIT", 20.0)
    ready = asyncio.Event()

    async def models(request: Received, answer: Answer) -> None:
        await ready.wait()
        await listing()(request, answer)

    async with relay(models=models, wait=False) as running:
        for path in ("/readyz", "/readyz?x"):
            reply = await running.ask(get(path))
            assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
            assert reply.headers["retry-after"] == "1"
        assert (await running.ask(get("/health"))).status == 200
        asking = [
            asyncio.create_task(running.ask(post(chat()))),
            asyncio.create_task(running.ask(get("/v1/models"))),
        ]
        await asyncio.sleep(0.05)
        ready.set()
        assert_intact(await asking[0], said(3))
        assert (await asking[1]).json()["data"][0]["id"] == "m"
        ready_now = {"status": "ready", "models": 1, "states": {"healthy": 1}}
        assert (await running.ask(get("/readyz"))).json() == ready_now


async def test_without_any_model() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with relay(servers=[f"vllm_chat:127.0.0.1:{taken.getsockname()[1]}"]) as running:
            body = {"messages": MESSAGES}
            assert_error(await running.ask(post(body)), 503, "upstream_unavailable")
            assert_error(await running.ask(post({**body, "model": "m"})), 404, "model_not_found")
            assert (await running.ask(get("/v1/models"))).json()["data"] == []
            assert (await running.ask(get("/readyz"))).status == 503


async def test_a_slow_server_holds_up_no_other() -> None:
    async with relay(models=play(hang), wait=False) as slow:
        servers = ["vllm_chat:{url}/v1", (f"vllm_chat:{slow.upstream.url}/v1", "other")]
        async with relay(servers=servers, wait=False) as running:
            assert_intact(await running.ask(post(chat())), said(3))


REQUESTS = [
    b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}',
    (
        b' {"stream" : true,\n "messages":[{"role":"user","content":"\\u00e9\\ud83e\\udd86/\\/"}],'
        b'"model":"m","top_k":1e0,"x":{"n":-0.0,"big":123456789012345678901234567890},"y":1.10}\r\n'
    ),
    '{"messages":[{"role":"user","content":"é"}],"guided_json":{"b":1,"a":[ ]},"stream":true,'
    '"model":"\\u006d"}'.encode(),
]


async def test_requests_reach_the_upstream_byte_for_byte() -> None:
    async with relay() as running:
        for body in REQUESTS:
            running.upstream.requests.clear()
            assert_intact(await running.ask(post(body)), said(3))
            (received,) = running.asked
            assert received.body == body
            assert received.headers["content-type"] == "application/json"


async def test_only_the_name_of_the_model_is_changed() -> None:
    servers = [("vllm_chat:{url}/v1", "public/name")]
    async with relay(servers=servers, models=listing('upstream "name" é')) as running:
        spliced = orjson.dumps('upstream "name" é')
        for body in REQUESTS:
            asked = body.replace(b'"m"', b'"public/name"').replace(b'"\\u006d"', b'"public/name"')
            running.upstream.requests.clear()
            assert_intact(await running.ask(post(asked)), said(3))
            (received,) = running.asked
            assert received.body == asked.replace(b'"public/name"', spliced)


async def test_names_that_could_be_mistaken_for_the_models() -> None:
    servers = [("vllm_chat:{url}/v1", "public")]
    bodies = [
        b'{"tools":[{"model":"public"}],"model":"public","messages":[{"role":"user"}],"stream":true}',
        (
            b'{"messages":[{"role":"user","content":"\\"model\\":\\"public\\""}],"model":"public",'
            b'"stream":true}'
        ),
    ]
    async with relay(servers=servers) as running:
        for body in bodies:
            running.upstream.requests.clear()
            assert_intact(await running.ask(post(body)), said(3))
            (received,) = running.asked
            assert received.json() == {**orjson.loads(body), "model": "m"}


async def test_without_a_name_the_first_model_answers() -> None:
    bodies: list[bytes] = [
        b'{"messages":[{"role":"user"}],"stream":true,"x":1.0}',
        b'{"model":null,"messages":[{"role":"user"}],"stream":true}',
    ]
    async with relay(models=listing("first", "second")) as running:
        for body in bodies:
            running.upstream.requests.clear()
            assert_intact(await running.ask(post(body)), said(3))
            (received,) = running.asked
            assert received.json() == {**orjson.loads(body), "model": "first"}
        assert running.asked
        running.upstream.requests.clear()
        await running.ask(post(bodies[0]))
        assert running.asked[0].body == b'{"model":"first",' + bodies[0][1:]


async def test_answers_come_back_byte_for_byte() -> None:
    bodies = [
        orjson.dumps(completion()),
        (
            b' {"choices" : [ {"message":{"content":"\\u00e9"},"finish_reason":"stop"} ],\n'
            b' "x":1.0, "usage" : {"total_tokens":2} }\n'
        ),
        b'{"choices":[],"usage":{"total_tokens":1e2},"n":123456789012345678901234567890}',
    ]
    async with relay() as running:
        for body in bodies:
            running.plays(whole(body))
            reply = await running.ask(post(chat(False)))
            assert reply.body == body
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["content-length"] == str(len(body))
            assert reply.headers["x-h2o-backend"] == "vllm"
        running.plays(json(completion(), 201))
        assert (await running.ask(post(chat(False)))).json() == completion()


async def test_usage_comes_when_it_was_asked_for() -> None:
    usage = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
    async with relay(sse([*said(2), usage])) as running:
        reply = await running.ask(post(chat(stream_options={"include_usage": True})))
        assert_intact(reply, [*said(2), usage])
        assert running.asked[0].json()["stream_options"] == {"include_usage": True}
