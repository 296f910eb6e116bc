"""/tokenize in vLLM's shape over TGI's own, and the paths that TGI does not have."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import h2o_relay_tgi
from h2o_relay.errors import InvalidRequest, UnknownURL, UpstreamBadResponse, UpstreamRejected
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick
from h2o_relay.types import Call

from .tgi_kit import MESSAGES, Bench, bench
from .tgi_rules import number
from .tgi_standin import MODEL, TgiStandIn, standing

JSON = {"content-type": "application/json"}
TOOL = {"type": "function", "function": {"name": "f", "arguments": {}}}


async def tokenized(b: Bench, strict: bool = False, **params: Any) -> tuple[Any, tuple[str, ...]]:
    """The answer, and what was not honoured."""
    body = orjson.dumps({"model": MODEL, **params})
    call = Call(method="POST", path="/tokenize", headers=JSON, body=body, strict=strict)
    async with h2o_relay_tgi.forward(b.server, b.client, call) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        return orjson.loads(b"".join([piece async for piece in reply.chunks])), reply.dropped


def sent(b: Bench) -> list[tuple[str, Any]]:
    return [(r.path, r.json()) for r in b.upstream.requests if r.method == "POST"]


async def test_a_text_is_tokenized_in_vllms_shape() -> None:
    async with bench("tgi:{url}::KEY") as b:
        found, dropped = await tokenized(b, prompt="wörld two", return_token_strs=True)
        assert sent(b) == [("/tokenize", {"inputs": "wörld two"})]
        assert b.upstream.requests[0].body == '{"inputs":"wörld two"}'.encode()
        assert all(r.headers["authorization"] == "Bearer KEY" for r in b.upstream.requests)
    assert found == {
        "count": 3, "max_model_len": 128, "tokens": [1, number("wörld"), number(" two")],
        "token_strs": ["", "wörld", " two"],
    }  # fmt: skip
    assert dropped == ()


async def test_messages_go_through_the_template() -> None:
    async with bench() as b:
        found, dropped = await tokenized(b, messages=MESSAGES, tools=[TOOL], tool_prompt="use")
        asked = {"messages": MESSAGES, "tools": [TOOL], "tool_prompt": "use"}
        assert sent(b) == [("/chat_tokenize", asked)]
    assert (found["count"], found["token_strs"]) == (len(found["tokens"]), None)
    assert found["count"] > 5
    assert dropped == ()


@pytest.mark.parametrize(
    ("params", "unread"),
    [
        ({"prompt": "a", "add_special_tokens": True}, ()),
        ({"prompt": "a", "add_special_tokens": False}, ("add_special_tokens",)),
        ({"prompt": "a", "own": 1, "null": None}, ("own",)),
        ({"messages": MESSAGES, "add_special_tokens": False}, ()),
        ({"messages": MESSAGES, "add_special_tokens": True}, ("add_special_tokens",)),
        ({"messages": MESSAGES, "add_generation_prompt": True}, ()),
        ({"messages": MESSAGES, "add_generation_prompt": False}, ("add_generation_prompt",)),
        ({"messages": MESSAGES, "chat_template_kwargs": {"a": 1}}, ("chat_template_kwargs",)),
        ({"messages": MESSAGES, "continue_final_message": True}, ("continue_final_message",)),
    ],
)
async def test_what_is_not_honoured_is_reported_or_refused(
    params: dict[str, Any], unread: tuple[str, ...]
) -> None:
    async with bench() as b:
        assert (await tokenized(b, **params))[1] == unread
        before = len(b.upstream.requests)
        if not unread:
            return
        with pytest.raises(InvalidRequest) as caught:
            await tokenized(b, strict=True, **params)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", unread[0])
        assert len(b.upstream.requests) == before, "refused before anything is sent"


async def test_refusals_and_nonsense() -> None:
    async with bench(has_template=False) as b:
        with pytest.raises(UpstreamRejected, match="template not found"):
            await tokenized(b, messages=MESSAGES)
        for answer in ({"tokens": 1}, [{"id": 1}], 7):
            b.upstream.script = json(answer)
            with pytest.raises(UpstreamBadResponse):
                await tokenized(b, prompt="a")


async def test_what_tgi_does_not_have() -> None:
    """Through the kernel, which names the model."""
    tgi = TgiStandIn()
    async with standing(tgi) as upstream:
        plugins = Plugins.of(tgi=h2o_relay_tgi)
        async with Kernel(quick(), [f"tgi:{upstream.url}"], plugins) as kernel:
            await kernel.settled(20)
            before = len(upstream.requests)
            for path in ("/detokenize", "/rerank", "/embeddings", "/messages", "/responses"):
                call = Call(method="POST", path=path, params={"model": MODEL}, body=b"{}")
                with pytest.raises(UnknownURL, match=f"`{MODEL}` does not offer POST /v1{path}"):
                    async with kernel.forward(MODEL, call):
                        pass
            assert len(upstream.requests) == before
            upstream.script = json({"error": "Tokenizer not available"}, 501)
            params = {"model": MODEL, "prompt": "a"}
            call = Call(method="POST", path="/tokenize", params=params, body=b"{}")
            with pytest.raises(UnknownURL, match=f"`{MODEL}` does not offer POST /v1/tokenize"):
                async with kernel.forward(MODEL, call):
                    pass
