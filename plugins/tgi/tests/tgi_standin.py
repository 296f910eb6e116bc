"""A TGI server without a model, for tests: its protocol byte for byte, its answers made up.

Written from TGI's OpenAPI document (2.4) and, for what that leaves out, from what its router does:
the order of fields (serde keeps that of its structs), `data:` without a blank in events of its own,
limits and the sentences in which it refuses. A prompt has a token for each word and one for the
beginning; an answer one for each word with the blanks before it, then the special `</s>`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.testing.scripts import Play, stream, whole
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay_tgi.conformance import own_event

from .tgi_rules import (
    SSE_HEADERS,
    WORDS,
    Refused,
    as_generate,
    check_chat,
    invalid,
    json_answer,
    likeliest,
    number,
    read,
    sampling_rules,
    simple_tokens,
    told,
    used,
)

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
EOS = "</s>"
STATUS = {
    "overloaded": 429,
    "validation": 422,
    "generation": 424,
    "incomplete_generation": 500,
    "template_error": 422,
}
"""Types of errors, and the statuses that they come with."""


@dataclass(slots=True)
class Generated:
    """What the model made of a prompt."""

    tokens: list[dict[str, Any]]
    text: str
    finish_reason: str
    prompt: list[str]
    seed: int | None


@dataclass(slots=True)
class TgiStandIn:
    """A script for `ScriptedUpstream`. `says` is what the model answers; `fails` an error that is
    raised instead, after `fails_after` tokens of a stream.
    """

    says: str = "Parrots eat seeds, nuts and fruit."
    version: str = "2.4.1-dev0"
    max_input_tokens: int = 64
    max_total_tokens: int = 128
    max_stop_sequences: int = 4
    max_best_of: int = 2
    max_top_n_tokens: int = 5
    authorization: str | None = None
    has_template: bool = True
    hides_stream_errors: bool = False
    """As TGI 2.2 to 3.0 do in Messages streams."""
    fails: Refused | None = None
    fails_after: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of generation requests."""

    async def __call__(self, request: Received, answer: Answer) -> None:
        await self.play(request)(request, answer)

    def play(self, request: Received) -> Play:
        """The answer to one request."""
        route = getattr(self, ROUTES.get((request.method, request.path), ""), None)
        if route is None:
            return whole(b"", 404)
        allowed = (None, request.headers.get("authorization"))
        if request.path not in OPEN and self.authorization not in allowed:
            return whole(b"", 401)
        try:
            return route(request)
        except Refused as error:
            return json_answer(error.body, STATUS[error.kind])

    def info(self, request: Received) -> Play:
        return json_answer(
            {
                "model_id": MODEL, "model_sha": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
                "model_pipeline_tag": "text-generation", "max_concurrent_requests": 128,
                "max_best_of": self.max_best_of, "max_stop_sequences": self.max_stop_sequences,
                "max_input_tokens": self.max_input_tokens,
                "max_total_tokens": self.max_total_tokens, "validation_workers": 2,
                "max_client_batch_size": 4, "router": "text-generation-router",
                "version": self.version, "sha": None, "docker_label": None,
            }
        )  # fmt: skip

    def models(self, request: Received) -> Play:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL}
        return json_answer({"object": "list", "data": [entry]})

    def health(self, request: Received) -> Play:
        return whole(b"", headers={})

    def metrics(self, request: Received) -> Play:
        page = (
            "# TYPE tgi_queue_size gauge\ntgi_queue_size 3\n\n"
            "# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size 7\n"
        )
        return whole(page.encode(), content_type="text/plain; charset=utf-8")

    def tokenize(self, request: Received) -> Play:
        asked = read(request)
        return json_answer(simple_tokens(asked["inputs"], asked["parameters"]["truncate"]))

    def chat_tokenize(self, request: Received) -> Play:
        text = self._templated(orjson.loads(request.body))
        tokens = simple_tokens(text, None)
        return json_answer({"tokenize_response": tokens, "templated_text": text})

    def compat(self, request: Received) -> Play:
        """POST /, as the older API of the hub has it: `stream` in the body, else a list of one."""
        if orjson.loads(request.body).get("stream"):
            return self.generate_stream(request)
        answer, headers = self._generate(read(request))
        return json_answer([answer], headers=headers)

    def generate(self, request: Received) -> Play:
        answer, headers = self._generate(read(request))
        return json_answer(answer, headers=headers)

    def generate_stream(self, request: Received) -> Play:
        events = [own_event(event) for event in self._events(read(request))]
        return stream(events, headers=SSE_HEADERS)

    def chat(self, request: Received) -> Play:
        """The Messages API, in terms of the other one."""
        chat = orjson.loads(request.body)
        check_chat(chat)
        asked = as_generate(chat, self._templated(chat))
        shape = {
            "object": "chat.completion.chunk" if chat.get("stream") else "chat.completion",
            "id": "", "created": 1750000000, "model": MODEL,
            "system_fingerprint": f"{self.version}-native",
        }  # fmt: skip
        if chat.get("stream"):
            return self._chat_stream(asked, chat, shape)
        answer, headers = self._generate(asked)
        details = answer["details"]
        choice = {
            "index": 0, "message": {"role": "assistant", "content": answer["generated_text"]},
            "logprobs": None, "finish_reason": told(details["finish_reason"]),
        }  # fmt: skip
        usage = used(int(headers["x-prompt-tokens"]), details["generated_tokens"])
        return json_answer({**shape, "choices": [choice], "usage": usage}, headers=headers)

    def _chat_stream(self, asked: Any, chat: Any, shape: dict[str, Any]) -> Play:
        events = []
        for event in self._events(asked):
            if "error" in event:
                events += [] if self.hides_stream_errors else [own_event(event)]
                continue
            details, token = event["details"], event["token"]
            text = "" if token["special"] else token["text"]
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": told(details["finish_reason"]) if details else None,
            }
            sent = {**shape, "choices": [choice]}
            if details and (chat.get("stream_options") or {}).get("include_usage"):
                sent["usage"] = used(details["input_length"], details["generated_tokens"])
            events.append(own_event(sent))
        return stream([*events, b"data: [DONE]\n\n"], headers=SSE_HEADERS)

    def _templated(self, chat: Mapping[str, Any]) -> str:
        if not self.has_template:
            raise Refused("template_error", "Template error: template not found")
        return "".join(f"{m['role']}: {m['content']}\n" for m in chat["messages"]) + "assistant:"

    def _generate(self, asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        made = self._made(asked)
        params = asked["parameters"]
        text = (asked["inputs"] if params["return_full_text"] else "") + made.text
        answer: dict[str, Any] = {"generated_text": text}
        if params["details"] or params["decoder_input_details"]:
            answer["details"] = self._details(made, params)
        return answer, {
            "x-compute-characters": str(len(asked["inputs"])),
            "x-prompt-tokens": str(len(made.prompt)),
            "x-generated-tokens": str(len(made.tokens)),
        }

    def _details(self, made: Generated, params: Mapping[str, Any]) -> dict[str, Any]:
        prefill = [
            {"id": number(word), "text": word, "logprob": None if i == 0 else -1.5}
            for i, word in enumerate(made.prompt)
        ]
        found: dict[str, Any] = {
            "finish_reason": made.finish_reason, "generated_tokens": len(made.tokens),
            "seed": made.seed, "prefill": prefill if params["decoder_input_details"] else [],
            "tokens": made.tokens,
        }  # fmt: skip
        if (params["best_of"] or 1) > 1:
            found["best_of_sequences"] = [{"generated_text": made.text, **found}]
        if params["top_n_tokens"]:
            found["top_tokens"] = [likeliest(t, params["top_n_tokens"]) for t in made.tokens]
        return found

    def _events(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of /generate_stream; refusals are events, too, under a status of 200."""
        params, error = asked["parameters"], self.fails
        self.fails = None
        try:
            if (params["best_of"] or 1) != 1:
                raise invalid("`best_of` != 1 is not supported when streaming tokens")
            if params["decoder_input_details"]:
                raise invalid(
                    "`decoder_input_details` == true is not supported when streaming tokens"
                )
            made = self._made(asked)
        except Refused as refused:
            return [refused.body]
        finally:
            self.fails = error
        events = [
            {"index": i + 1, "token": token}
            | ({"top_tokens": tops} if (tops := likeliest(token, params["top_n_tokens"])) else {})
            | {"generated_text": None, "details": None}
            for i, token in enumerate(made.tokens)
        ]
        if error is not None:
            return [*events[: self.fails_after], error.body]
        events[-1]["generated_text"] = made.text
        if params["details"]:
            events[-1]["details"] = {
                "finish_reason": made.finish_reason, "generated_tokens": len(made.tokens),
                "seed": made.seed, "input_length": len(made.prompt),
            }  # fmt: skip
        return events

    def _made(self, asked: dict[str, Any]) -> Generated:
        self.asked.append(asked)
        params = asked["parameters"]
        if self.fails is not None:
            raise self.fails
        self._validate(asked["inputs"], params)
        prompt = ["<s>", *WORDS.findall(asked["inputs"])]
        if params["truncate"]:
            prompt = prompt[-params["truncate"] :]
        limit = params["max_new_tokens"]
        limit = self.max_total_tokens - len(prompt) if limit is None else limit
        if len(prompt) + limit > self.max_total_tokens:
            raise invalid(
                f"`inputs` tokens + `max_new_tokens` must be <= {self.max_total_tokens}. "
                f"Given: {len(prompt)} `inputs` tokens and {limit} `max_new_tokens`"
            )
        if len(prompt) > self.max_input_tokens:
            raise invalid(
                f"`inputs` must have less than {self.max_input_tokens} tokens. Given: {len(prompt)}"
            )
        return self._sampled(prompt, limit, params)

    def _sampled(self, prompt: list[str], limit: int, params: Mapping[str, Any]) -> Generated:
        tokens, text, reason = [], "", "length"
        for word in [*WORDS.findall(self.says), EOS][:limit]:
            special = word == EOS
            tokens.append({"id": number(word), "text": word, "logprob": -0.5, "special": special})
            if special:
                reason = "eos_token"
                break
            text += word
            if any(text.endswith(stop) for stop in params["stop"]):
                reason = "stop_sequence"
                break
        seed = params["seed"] if params["seed"] is not None else 42
        return Generated(tokens, text, reason, prompt, seed if params["do_sample"] else None)

    def _validate(self, inputs: str, params: Mapping[str, Any]) -> None:
        """What the router's validation refuses."""
        stops, best_of = len(params["stop"]), params["best_of"] or 1
        tops, most_tops = params["top_n_tokens"] or 0, self.max_top_n_tokens
        most_stops = self.max_stop_sequences
        rules = [
            *sampling_rules(params),
            (params["max_new_tokens"] == 0, "`max_new_tokens` must be strictly positive"),
            (
                stops > most_stops,
                f"`stop` supports up to {most_stops} stop sequences. Given: {stops}",
            ),
            (
                best_of > 1 and params["seed"] is not None,
                "`seed` must not be set when `best_of` > 1",
            ),
            (
                tops > most_tops,
                f"`top_n_tokens` must be >= 0 and <= {most_tops}. Given: {tops}",
            ),
            (not inputs, "`inputs` cannot be empty"),
            (
                best_of > self.max_best_of,
                f"`best_of` must be > 0 and <= {self.max_best_of}. Given: {best_of}",
            ),
        ]
        for broken, sentence in rules:
            if broken:
                raise invalid(sentence)


ROUTES = {
    ("GET", "/info"): "info",
    ("GET", "/v1/models"): "models",
    ("GET", "/"): "health",
    ("GET", "/health"): "health",
    ("GET", "/metrics"): "metrics",
    ("POST", "/"): "compat",
    ("POST", "/generate"): "generate",
    ("POST", "/generate_stream"): "generate_stream",
    ("POST", "/tokenize"): "tokenize",
    ("POST", "/chat_tokenize"): "chat_tokenize",
    ("POST", "/v1/chat/completions"): "chat",
}
OPEN = ("/", "/info", "/health", "/metrics")
"""Paths that want no authorization."""


@asynccontextmanager
async def standing(server: TgiStandIn) -> AsyncIterator[ScriptedUpstream]:
    """The stand-in on a port of loopback."""
    async with ScriptedUpstream(server) as upstream:
        yield upstream
