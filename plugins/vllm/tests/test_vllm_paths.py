"""Where vLLM's paths stand, and that what goes there and comes back is not touched."""

from __future__ import annotations

import orjson
import pytest

import h2o_relay_vllm as plugin
from h2o_relay.errors import UnknownURL
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import Play, json, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Call, Server

JSON = {"content-type": "application/json"}
MODELS = json({"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]})
COUNTED = '{"count":2,"max_model_len":1024,"tokens":[19556,905],"token_strs":["hä","▁x"]}'.encode()
NOT_FOUND = {"message": "Not Found", "type": "NotFoundError", "param": None, "code": 404}
NO_MODEL = {**NOT_FOUND, "message": "The model `m` does not exist.", "param": "model"}
CASES = [
    ("/tokenize", "/tokenize", b'{ "model":"m", "prompt":"h\xc3\xa4 x","own": 1.0}', COUNTED),
    ("/detokenize", "/detokenize", b'{"model":"m","tokens":[1]}', b'{"prompt":"a"}'),
    ("/rerank", "/v1/rerank", b'{"model":"m","query":"a","documents":["b"]}', b'{"results": []}'),
    ("/score", "/v1/score", b'{"model":"m","text_1":"a","text_2":"b"}', b'{"data": [ ]}'),
    ("/embeddings", "/v1/embeddings", b'{"model":"m","input":"a"}', b'{"data": [ ]}'),
    ("/responses", "/v1/responses", b'{"model":"m","input":"a"}', b'{"id": "r"}'),
    ("/messages", "/v1/messages", b'{"model":"m","max_tokens":1}', b'{"id": "m"}'),
    ("/messages/count_tokens", "/v1/messages/count_tokens", b'{"model":"m"}', b'{"tokens":1}'),
    ("/audio/transcriptions", "/v1/audio/transcriptions", b'{"model":"m"}', b'{"text":"a"}'),
    ("/audio/translations", "/v1/audio/translations", b'{"model":"m"}', b'{"text":"a"}'),
]  # fmt: skip


class Vllm:
    """Answers what is POSTed with `answer`, and lists one model."""

    def __init__(self, answer: Play) -> None:
        self.answer = answer
        self.asked: list[Received] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.method == "POST":
            self.asked.append(request)
        await (self.answer if request.method == "POST" else MODELS)(request, answer)


async def forwarded(vllm: Vllm, path: str, body: bytes, form: str = "vllm:{}/v1") -> bytes:
    async with ScriptedUpstream(vllm) as upstream:
        plugins = Plugins.of(vllm=plugin)
        async with Kernel(quick(), [form.format(upstream.url)], plugins) as kernel:
            await kernel.settled(20)
            call = Call(
                method="POST", path=path, headers=JSON, body=body, params=orjson.loads(body)
            )  # fmt: skip
            async with kernel.forward("m", call) as reply:
                return b"".join([piece async for piece in reply.chunks])


@pytest.mark.parametrize(("path", "where", "body", "answer"), CASES)
async def test_bytes_go_both_ways_as_they_are(
    path: str, where: str, body: bytes, answer: bytes
) -> None:
    vllm = Vllm(whole(answer))
    assert await forwarded(vllm, path, body, "vllm:{}/v1:KEY") == answer
    (asked,) = vllm.asked
    assert (asked.path, asked.body) == (where, body)
    assert asked.headers["authorization"] == "Bearer KEY"


async def test_tokens_stand_beside_v1_below_a_path_too() -> None:
    vllm = Vllm(whole(COUNTED))
    await forwarded(vllm, "/tokenize", b'{"model":"m","prompt":"a"}', "vllm:{}/team/v1/")
    assert vllm.asked[0].path == "/team/tokenize"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/tokenize", b'{"tokens":[]}'),  # what llama.cpp says to fields that it does not know
        ("/detokenize", b'{"content":"a"}'),
        ("/tokenize", b"<html>"),
        ("/tokenize", b"[1]"),
    ],
)
async def test_other_servers_tokens_do_not_pass_for_vllms(path: str, answer: bytes) -> None:
    with pytest.raises(UnknownURL, match=f"`m` does not offer POST /v1{path}"):
        await forwarded(Vllm(whole(answer)), path, b'{"model":"m"}')


async def test_an_older_server_lacks_a_path_and_not_the_model() -> None:
    for error in (json({"error": NOT_FOUND}, 404), json({"detail": "Not Found"}, 404)):
        with pytest.raises(UnknownURL, match="`m` does not offer POST /v1/messages"):
            await forwarded(Vllm(error), "/messages", b'{"model":"m"}')
    with pytest.raises(Exception, match="does not exist") as caught:
        await forwarded(Vllm(json({"error": NO_MODEL}, 404)), "/messages", b'{"model":"m"}')
    assert not isinstance(caught.value, UnknownURL)


def test_declared_paths_have_a_way_and_others_too() -> None:
    server = Server(plugin="vllm", url="http://h/v1", key="EMPTY")
    able = plugin.capabilities(server).paths
    assert {path for path, *_ in CASES} < able
    for path in (*able, "/images/generations"):  # vLLM-Omni and other servers have more
        found = plugin.target(server, Call(method="POST", path=path, query="a=1"))
        below = "" if path in ("/tokenize", "/detokenize") else "/v1"
        assert found.url == f"http://h{below}{path}?a=1"
