"""The tgi plugin under the conformance suite: by TGI's own API, and by its Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from h2o_relay.testing.scripts import LAST, Play, chunk, json, play, stream
from h2o_relay.testing.suite import MODEL, BackendSuite, deviates, does_not_apply
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import OpenAIWire, Wire

ONE_MODEL = "a TGI server has one model, which its /info names"
NO_LIST = "/info always names a model"
FINISH = {"stop": "eos_token", "length": "length"}


def info(name: str, version: str = "3.3.4") -> dict[str, Any]:
    return {
        "model_id": name, "model_sha": None, "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 4,
        "max_input_tokens": 4095, "max_total_tokens": 4096, "validation_workers": 2,
        "max_client_batch_size": 4, "router": "text-generation-router", "version": version,
        "sha": None, "docker_label": None,
    }  # fmt: skip


def own_event(data: Any) -> bytes:
    """An event as axum writes JSON: no blank after the colon."""
    return b"data:" + orjson.dumps(data) + b"\n\n"


class Router(Wire):
    """What both APIs have in common."""

    def is_listing(self, request: Received) -> bool:
        return request.path.endswith("/info")

    def listing(self, names: Sequence[str]) -> Play:
        return json(info(names[0]))

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return json({"error": message, "error_type": "test"}, status, headers)


class TgiWire(Router):
    """/generate and /generate_stream."""

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        tokens = [self.token(i, text) for i, text in enumerate(texts)]
        if not request.path.endswith("/generate_stream"):
            return self.whole("".join(texts), tokens, finish)
        events = [self.event(i, token) for i, token in enumerate(tokens)]
        if finish is not None:
            events.append(self.event(len(texts), self.token(2, "</s>", special=True)))
            events[-1]["generated_text"] = "".join(texts)
            events[-1]["details"] = {
                "finish_reason": FINISH[finish], "generated_tokens": len(texts) + 1,
                "seed": 7, "input_length": 3,
            }  # fmt: skip
        return stream([own_event(event) for event in events])

    def whole(self, text: str, tokens: Any, finish: str | None) -> Play:
        details = {
            "finish_reason": FINISH[finish] if finish else None, "generated_tokens": len(tokens),
            "seed": 7, "prefill": [], "tokens": tokens,
        }  # fmt: skip
        return json({"generated_text": text, "details": details}, headers={"x-prompt-tokens": "3"})

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        events = [own_event(self.event(i, self.token(i, t))) for i, t in enumerate(texts)]
        error = own_event({"error": message, "error_type": "generation"})
        return stream(events).upto(len(events)) + play(chunk(error), LAST)

    def token(self, id: int, text: str, special: bool = False) -> dict[str, Any]:
        return {"id": id, "text": text, "logprob": -0.25, "special": special}

    def event(self, index: int, token: dict[str, Any]) -> dict[str, Any]:
        return {"index": index + 1, "token": token, "generated_text": None, "details": None}


class MessagesWire(Router, OpenAIWire):
    """OpenAI's shape, but for the list of models and the form of errors."""

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        payloads = self.payloads(request, texts, None)
        events = [b"data: " + payload + b"\n\n" for payload in payloads]
        error = b"data: " + orjson.dumps({"error": message, "error_type": "generation"}) + b"\n\n"
        return stream(events).upto(len(events)) + play(chunk(error), LAST)


class TestTgi(BackendSuite):
    """By the Messages API."""

    plugin = "tgi"
    speaks: ClassVar[Wire] = MessagesWire()
    documented = {
        "tgi:192.168.1.46:8080": {"url": "http://192.168.1.46:8080", "key": None},
        "tgi:192.168.1.46": {"url": "http://192.168.1.46"},
        "tgi:192.168.1.46:8080:/models/one": {"url": "http://192.168.1.46:8080/models/one"},
        "tgi:http://192.168.1.46:8080": {"url": "http://192.168.1.46:8080", "api": None},
        "tgi:http://192.168.1.46:8080/v1": {"url": "http://192.168.1.46:8080"},
        "tgi:https://tgi.example.com:None:None:KEY": {
            "url": "https://tgi.example.com",
            "key": "KEY",
        },
        "tgi:192.168.1.46:8080:None:KEY": {"url": "http://192.168.1.46:8080", "key": "KEY"},
        "tgi:http://192.168.1.46:8080    Bearer    TOKEN": {
            "url": "http://192.168.1.46:8080",
            "user": "Bearer",
            "headers": {"authorization": "Bearer TOKEN"},
            "shown": "tgi:http://192.168.1.46:8080    Bearer    ***",
        },
        "tgi:https://user:password@tgi.example.com/path": {
            "url": "https://tgi.example.com/path",
            "user": "user",
            "password": "password",
        },
        "tgi:[::1]:8080": {"url": "http://[::1]:8080"},
    }
    foreign = ("tgi_chat:host:8080", "tgiserver:8080", "TGI:host:8080", "vllm:host:8000")
    malformed = (
        "tgi",
        "tgi:",
        "tgi:host:99999",
        "tgi:host:8080:None:KEY:more",
        "tgi:ftp://host",
        "tgi:bad host:8080",
        "tgi:http://host:8080    Bearer",
        "tgi:http://host:8080    Bearer    a    b",
        "tgi:http://host:8080        TOKEN",
        "tgi:host:8080:None:KEY    Bearer    TOKEN",
        "tgi:http://host:8080    Bearer    tökén",
    )
    secret_string = f"tgi:http://host:8080    Bearer    {BackendSuite.secret}"
    expected_capabilities = {
        "kinds": frozenset({"chat", "text"}),
        "cancels": frozenset({"stream", "generate"}),
        "tokenizer": True,
        "finishes": True,
    }

    test_a_server_may_list_nothing = does_not_apply(NO_LIST)

    def server_for(self, url: str) -> str:
        return f"tgi:{url}"

    @deviates(ONE_MODEL)
    async def test_listed_models_can_be_asked_for(self) -> None:
        for name in (MODEL, "another/model:1", "ünïcode"):
            async with self.relay(self.reply(), self.speaks.listing([name])) as relay:
                (deployment,) = relay.kernel.models()
                assert deployment.model == name
                assert deployment.max_context == 4096


class TestTgiNative(TestTgi):
    """By TGI's own API."""

    kind = "text"
    speaks = TgiWire()
    leaks = ("an answer\nUser:",)

    test_payloads_are_the_upstreams_own = does_not_apply("/generate is not OpenAI's shape")
