"""Paths beside chat and text, byte for byte as llama.cpp (2026-10) says it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import InvalidRequest, RelayError, UnknownURL, UpstreamBadResponse
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import Play, json, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Call, Server

JSON = {"content-type": "application/json"}
SERVER = {"server": "llama.cpp"}
MODELS = json(
    {
        "object": "list",
        "data": [
            {"id": "other", "owned_by": "llamacpp", "meta": {"n_vocab": 7, "n_ctx": 9}},
            {"id": "m", "owned_by": "llamacpp", "meta": {"n_vocab": 49152, "n_ctx": 2048}},
        ],
    },
    headers=SERVER,
)
TOKENS = b'{"tokens":[28120,267,29989,400]}'
PIECES = (
    b'{"tokens":[{"id":28120,"piece":"hello"},{"id":40303,"piece":[32,240,159,152]},'
    b'{"id":218,"piece":[128]}]}'
)
RENDERED = b'{"prompt":"<|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant\\n"}'
TEXT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
USER = {"role": "user", "content": "hi"}
BOTH = [USER, {"role": "assistant", "content": "yo"}]
TOOL = {"type": "function", "function": {"name": "f"}}
MISSING = json(
    {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, 404
)
UNFIT = json({"error": {"code": 500, "message": "Missing tool type", "type": "server_error"}}, 500)
NO_RERANKER = {
    "code": 501, "type": "not_supported_error",
    "message": "This server does not support reranking. Start it with `--reranking`",
}  # fmt: skip


class Llama:
    """A server with these answers by path; `asked` is what came in beside looks at the models."""

    def __init__(self, answers: Mapping[str, Play]) -> None:
        self.answers = {"/v1/models": MODELS, **answers}
        self.asked: list[Received] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.method == "POST":
            self.asked.append(request)
        await self.answers.get(request.path, MISSING)(request, answer)

    @property
    def sent(self) -> list[tuple[str, Any]]:
        return [(request.path, request.json()) for request in self.asked]


class Relayed:
    def __init__(self, kernel: Kernel, llama: Llama) -> None:
        self.kernel, self.llama = kernel, llama

    async def post(
        self, path: str, body: bytes, strict: bool = False
    ) -> tuple[bytes, tuple[str, ...]]:
        """The answer's body, and what was not honoured."""
        call = Call(
            method="POST", path=path, headers=JSON, body=body, params=orjson.loads(body)
        )  # fmt: skip
        async with self.kernel.forward("m", call, None, strict) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
            return b"".join([piece async for piece in reply.chunks]), reply.dropped

    async def tokenized(self, **params: Any) -> tuple[Any, tuple[str, ...]]:
        body, dropped = await self.post("/tokenize", orjson.dumps({"model": "m", **params}))
        return orjson.loads(body), dropped


@asynccontextmanager
async def relayed(**answers: Play) -> AsyncIterator[Relayed]:
    """`tokenize=` is the answer at /tokenize, `apply_template=` at /apply-template."""
    llama = Llama({f"/{name.replace('_', '-')}": answer for name, answer in answers.items()})
    async with ScriptedUpstream(llama) as upstream:
        plugins = Plugins.of(llama_cpp=plugin)
        async with Kernel(quick(), [upstream.url], plugins) as kernel:
            await kernel.settled(20)
            yield Relayed(kernel, llama)


async def test_a_text_is_tokenized_in_vllms_shape() -> None:
    async with relayed(tokenize=whole(TOKENS)) as relay:
        body, dropped = await relay.post(
            "/tokenize", '{"model":"m","prompt":"hello wörld"}'.encode()
        )
        assert body == (
            b'{"count":4,"max_model_len":2048,"tokens":[28120,267,29989,400],"token_strs":null}'
        )
        assert dropped == ()
        (asked,) = relay.llama.asked
    assert asked.body.decode() == (
        '{"content":"hello wörld","add_special":true,"parse_special":true,"with_pieces":false,'
        '"model":"m"}'
    )
    assert asked.headers["content-type"] == "application/json"


async def test_texts_of_tokens_and_no_special_ones() -> None:
    async with relayed(tokenize=whole(PIECES)) as relay:
        found, dropped = await relay.tokenized(
            prompt="hello \U0001f600", add_special_tokens=False, return_token_strs=True
        )
        ((_, sent),) = relay.llama.sent
    assert (sent["add_special"], sent["with_pieces"]) == (False, True)
    assert found == {
        "count": 3, "max_model_len": 2048, "tokens": [28120, 40303, 218],
        "token_strs": ["hello", " \\xf0\\x9f\\x98", "\\x80"],
    }  # fmt: skip
    assert dropped == ()


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({"messages": [USER]}, {"messages": [USER]}),
        (
            {"messages": [USER], "tools": [TOOL], "chat_template_kwargs": {"x": 1},
             "add_generation_prompt": False},
            {"messages": [USER], "tools": [TOOL], "chat_template_kwargs": {"x": 1},
             "add_generation_prompt": False},
        ),
        (
            {"messages": BOTH, "continue_final_message": True},
            {"messages": BOTH, "continue_final_message": True, "add_generation_prompt": False},
        ),
        ({"messages": [USER], "tools": None, "add_special_tokens": False}, {"messages": [USER]}),
    ],
)  # fmt: skip
async def test_messages_are_rendered_by_the_server(
    params: dict[str, Any], sent: dict[str, Any]
) -> None:
    async with relayed(tokenize=whole(TOKENS), apply_template=whole(RENDERED)) as relay:
        found, dropped = await relay.tokenized(**params)
        assert (found["count"], dropped) == (4, ())
        rendering, tokenizing = relay.llama.sent
    assert rendering == ("/apply-template", {**sent, "model": "m"})
    assert tokenizing[0] == "/tokenize"
    assert (tokenizing[1]["content"], tokenizing[1]["add_special"]) == (TEXT, True)


@pytest.mark.parametrize(
    ("params", "unread"),
    [
        ({"prompt": "a", "chat_template": "x", "own": 1}, ("chat_template", "own")),
        ({"prompt": "a", "own": None}, ()),
        ({"messages": [USER], "chat_template": "x"}, ("chat_template",)),
        ({"messages": [USER], "add_special_tokens": True}, ("add_special_tokens",)),
        ({"messages": [USER], "continue_final_message": False}, ()),
        ({"messages": BOTH, "continue_final_message": False}, ("continue_final_message",)),
        ({"messages": BOTH, "add_generation_prompt": True}, ("add_generation_prompt",)),
    ],
)
async def test_what_is_not_honoured_is_reported_or_refused(
    params: dict[str, Any], unread: tuple[str, ...]
) -> None:
    async with relayed(tokenize=whole(TOKENS), apply_template=whole(RENDERED)) as relay:
        _, dropped = await relay.tokenized(**params)
        assert dropped == unread
        if not unread:
            return
        relay.llama.asked.clear()
        with pytest.raises(InvalidRequest) as caught:
            await relay.post("/tokenize", orjson.dumps({"model": "m", **params}), strict=True)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", unread[0])
        assert relay.llama.asked == [], "refused before anything is sent"


async def test_tokens_become_a_text() -> None:
    async with relayed(detokenize=json({"content": "hello world"})) as relay:
        body, dropped = await relay.post("/detokenize", b'{"model":"m","tokens":[28120,905]}')
        assert (body, dropped) == (b'{"prompt":"hello world"}', ())
        assert [asked.body for asked in relay.llama.asked] == [
            b'{"tokens":[28120,905],"model":"m"}'
        ]


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("/detokenize", {"tokens": [49152]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {}, "tokens"),
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 7}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [USER]}, "messages"),
        ("/tokenize", {"messages": {}}, "messages"),
    ],
)
async def test_what_llama_cpp_would_stumble_on_never_reaches_it(
    path: str, params: dict[str, Any], param: str
) -> None:
    async with relayed() as relay:
        with pytest.raises(InvalidRequest) as caught:
            await relay.post(path, orjson.dumps({"model": "m", **params}))
        assert caught.value.param == param
        assert relay.llama.asked == []


async def test_what_a_template_cannot_render_is_the_requests_fault() -> None:
    async with relayed(apply_template=UNFIT) as relay:
        with pytest.raises(RelayError) as caught:
            await relay.tokenized(messages=[USER], tools=[{"a": 1}])
    assert (caught.value.status, caught.value.message) == (400, "Missing tool type")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/tokenize", b"{}"), ("/tokenize", b"<html>"), ("/tokenize", b'{"tokens":[{"id":1}]}'),
        ("/detokenize", b"{}"), ("/detokenize", b"[]"),
    ],
)  # fmt: skip
async def test_answers_of_a_wrong_shape_are_an_error(path: str, answer: bytes) -> None:
    params = {"model": "m", "prompt": "a", "tokens": [1], "return_token_strs": True}
    kept = {
        "/tokenize": ("model", "prompt", "return_token_strs"),
        "/detokenize": ("model", "tokens"),
    }
    body = orjson.dumps({name: params[name] for name in kept[path]})
    async with relayed(**{path[1:]: whole(answer)}) as relay:
        with pytest.raises(UpstreamBadResponse):
            await relay.post(path, body)


NATIVE = [
    ("/embeddings", b'{ "model":"m", "input":"x" }'),
    ("/rerank", b'{"model":"m","query":"a","documents":["b"],"top_n": 1}'),
    ("/messages/count_tokens", b'{"model":"m","messages":[]}'),
    ("/chat/completions/input_tokens", b'{"model":"m","messages":[]}'),
    ("/audio/transcriptions", b'{"model":"m"}'),
]


@pytest.mark.parametrize(("path", "body"), NATIVE)
async def test_its_own_paths_go_byte_for_byte(path: str, body: bytes) -> None:
    answer = b'{ "odd" : 1.0 }\n'
    async with relayed() as relay:
        relay.llama.answers[f"/v1{path}"] = whole(answer)
        assert await relay.post(path, body) == (answer, ())
        (asked,) = relay.llama.asked
    assert (asked.path, asked.body) == (f"/v1{path}", body)


@pytest.mark.parametrize("path", ["/messages/count_tokens", "/chat/completions/input_tokens"])
async def test_what_cannot_be_counted_is_the_requests_fault(path: str) -> None:
    async with relayed() as relay:
        relay.llama.answers[f"/v1{path}"] = UNFIT
        with pytest.raises(RelayError) as caught:
            await relay.post(path, b'{"model":"m","messages":[]}')
    assert (caught.value.status, caught.value.message) == (400, "Missing tool type")


async def test_what_it_was_not_started_for_and_what_it_never_has() -> None:
    async with relayed() as relay:
        relay.llama.answers["/v1/rerank"] = json({"error": NO_RERANKER}, 501)
        with pytest.raises(UnknownURL, match=r"`m` does not offer POST /v1/rerank.*--reranking"):
            await relay.post("/rerank", b'{"model":"m"}')
        with pytest.raises(UnknownURL, match="`m` does not offer POST /v1/messages/count_tokens"):
            await relay.post("/messages/count_tokens", b'{"model":"m"}')  # an older one: Not Found
        asked = len(relay.llama.asked)
        for path in ("/audio/speech", "/images/generations", "/moderations", "/score", "/messages"):
            with pytest.raises(UnknownURL, match=f"`m` does not offer POST /v1{path}"):
                await relay.post(path, b'{"model":"m"}')
        assert len(relay.llama.asked) == asked


def test_declared_paths_have_a_way() -> None:
    server = Server(plugin="llama_cpp", url="http://h")
    able = plugin.capabilities(server).paths
    assert {path for path, _ in NATIVE} | {"/tokenize", "/detokenize"} < able
    assert not {"/messages", "/responses"} & able  # the relay's translation does more
    for path in able - {"/tokenize", "/detokenize"}:
        found = plugin.target(server, Call(method="POST", path=path, query="a=1"))
        assert found is not None
        assert found.url == f"/v1{path}?a=1"
