"""Replicate's API on loopback, after its HTTP API reference and its guide to streaming.

A model says a text piece by piece; how far it is follows from the clock alone, so there is nothing
to stop. The plugin's tests hold the official client and the API's OpenAPI document against it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import Play, chunk, head, json, whole
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream

TOKEN = "r8_conformance0123456789abcdef"
VERSION = "02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3"
PAGE = whole(b"<html><body>502 Bad Gateway</body></html>", 502, "text/html")
OPTIONS = {"H2O_REPLICATE_POLL_INTERVAL": "0.02", "H2O_REPLICATE_CANCEL_TIMEOUT": "0.3"}
OVER = ("succeeded", "failed", "canceled")

LLAMA: Mapping[str, Any] = {
    "prompt": {"type": "string", "title": "Prompt"},
    "system_prompt": {"type": "string", "default": "You are a helpful assistant."},
    "max_tokens": {"type": "integer", "default": 512},
    "temperature": {"type": "number", "minimum": 0.01, "maximum": 5},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
    "presence_penalty": {"type": "number"},
    "seed": {"type": "integer"},
    "stop_sequences": {"type": "string"},
    "prompt_template": {"type": "string", "default": "<s>[INST] {prompt} [/INST]"},
}
"""The inputs of Meta's models on Replicate, shortened."""
GPT: Mapping[str, Any] = {
    "prompt": {"type": "string"},
    "messages": {"type": "array", "items": {"type": "object"}},
    "max_completion_tokens": {"type": "integer"},
}
OLD: Mapping[str, Any] = {
    "prompt": {"type": "string"},
    "max_length": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "exclusiveMinimum": 0},
}
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "array": (list,),
}  # fmt: skip


@dataclass
class Stored:
    """A prediction of the stand-in."""

    id: str
    owner: str
    input: dict[str, Any]
    created: float
    streams: bool
    ended: str | None = None
    frozen: int = 0
    """How many pieces there were when it was cancelled."""


@dataclass
class Cloud:
    """One model and its predictions; call it as the script of a `ScriptedUpstream`."""

    texts: tuple[str, ...] = ("Hel", "lo, ", "wörld ", "\U0001f99c", ' "quoted"\nline')
    inputs: Mapping[str, Any] = field(default_factory=lambda: LLAMA)
    name: str = "meta/llama"
    streams: bool = True
    """Predictions have a streaming URL."""
    iterates: bool = True
    """The output is a list that grows; else a text at the end."""
    official: bool | None = None
    pace: float = 0.0
    """Seconds for each piece."""
    longest_wait: float = 60.0
    """Seconds for which a creation is held back at most."""
    error: str | None = None
    """What predictions fail with after their text."""
    metrics: Mapping[str, Any] = field(
        default_factory=lambda: {"input_token_count": 7, "output_token_count": 5}
    )
    faults: list[tuple[str, Script]] = field(default_factory=list)
    """What to answer instead, once each, to a request whose `METHOD path` begins so."""
    predictions: dict[str, Stored] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    served: ScriptedUpstream | None = None
    spoil: Callable[[Stored, Play], Script] | None = None
    """Changes how a prediction's events are sent."""
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    async def __call__(self, request: Received, answer: Answer) -> None:
        chosen = await self.choose(request)
        await chosen(request, answer)

    async def choose(self, request: Received) -> Script:
        path = request.path.removeprefix("/v1")
        for place, (start, script) in enumerate(self.faults):
            if f"{request.method} {path}".startswith(start):
                del self.faults[place]
                return script
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        match request.method, path.strip("/").split("/"):
            case "GET", ["models", *name] if "/".join(name) == self.name:
                return json(self.entry())
            case "GET", ["models", owner, name, "versions", number] if number == VERSION:
                return json(self.version())
            case "POST", ["models", owner, name, "predictions"] if self.official is not False:
                if f"{owner}/{name}" == self.name:
                    return await self.create(request)
            case "POST", ["predictions"]:
                if request.json().get("version") == VERSION:
                    return await self.create(request)
                return problem(422, "Invalid version or not permitted", "No such version")
            case "GET", ["predictions", number] if number in self.predictions:
                return json(self.state(self.predictions[number]))
            case "POST", ["predictions", number, "cancel"] if number in self.predictions:
                return json(self.cancel(self.predictions[number]))
            case "GET", ["stream", number] if number in self.predictions:
                return self.follow(self.predictions[number])
        return problem(404, "Not found", "The requested resource could not be found.")

    def entry(self) -> dict[str, Any]:
        owner, _, name = self.name.partition("/")
        said = {} if self.official is None else {"is_official": self.official}
        return {"owner": owner, "name": name, "url": f"https://replicate.com/{self.name}",
                "description": None, "visibility": "public", "run_count": 1,
                "latest_version": self.version(), **said}  # fmt: skip

    def version(self) -> dict[str, Any]:
        output: dict[str, Any] = {"type": "string", "title": "Output"}
        if self.iterates:
            output = {"type": "array", "items": {"type": "string"}, "title": "Output"}
            output |= {"x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"}
        schemas = {"Input": {"type": "object", "properties": self.inputs}, "Output": output}
        schema = {"openapi": "3.0.2", "components": {"schemas": schemas}}
        return {"id": VERSION, "created_at": "2023-09-13T15:41:34.688650Z", "cog_version": "0.8.1",
                "openapi_schema": schema}  # fmt: skip

    async def create(self, request: Received) -> Script:
        order = request.json()
        wrong = self.refused(order.get("input"))
        if wrong:
            return problem(422, "Input validation failed", wrong)
        number = f"p{next(self._ids)}"
        made = Stored(number, self.name, order["input"], self.now(), bool(order.get("stream")))
        self.predictions[number] = made
        wait = request.headers.get("prefer", "")
        if not wait.startswith("wait"):
            fresh = {"status": "starting", "output": None, "error": None}
            return json({**self.state(made), **fresh, "metrics": {}}, 201)
        limit = min(float(wait.partition("=")[2] or 60), self.longest_wait)
        await asyncio.sleep(min(limit, self.pace * len(self.texts)))
        return json(self.state(made), 201 if self.status(made) in OVER else 202)

    def refused(self, given: Any) -> str | None:
        if not isinstance(given, dict):
            return "input is required"
        for name, value in given.items():
            about = self.inputs.get(name)
            if about is None:
                return f"- input.{name}: Unexpected field\n"
            if not isinstance(value, TYPES[about["type"]]):
                return f"- input.{name}: Invalid type. Expected: {about['type']}\n"
            low = about.get("minimum")
            if low is not None and value < low:
                return f"- input.{name}: Must be greater than or equal to {low}\n"
        return None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def done(self, stored: Stored) -> int:
        """Pieces so far."""
        if stored.ended == "canceled":
            return stored.frozen
        if not self.pace:
            return len(self.texts)
        return min(len(self.texts), int((self.now() - stored.created) / self.pace))

    def status(self, stored: Stored) -> str:
        if stored.ended:
            return stored.ended
        if self.done(stored) < len(self.texts):
            return "processing" if self.done(stored) else "starting"
        return "failed" if self.error else "succeeded"

    def state(self, stored: Stored) -> dict[str, Any]:
        assert self.served is not None
        status, said = self.status(stored), self.texts[: self.done(stored)]
        at = f"{self.served.url}/v1/predictions/{stored.id}"
        urls = {"web": f"https://replicate.com/p/{stored.id}", "get": at, "cancel": f"{at}/cancel"}
        if self.streams and stored.streams:
            urls["stream"] = f"{self.served.url}/v1/stream/{stored.id}"
        output: Any = list(said) if self.iterates else "".join(said)
        if not said or (not self.iterates and status != "succeeded"):
            output = None
        return {"id": stored.id, "model": self.name, "version": VERSION, "input": stored.input,
                "logs": "", "output": output, "data_removed": False, "source": "api",
                "status": status, "urls": urls,
                "error": self.error if status == "failed" else None,
                "metrics": dict(self.metrics) if status in OVER else {},
                "created_at": "2024-07-23T15:04:21.227Z"}  # fmt: skip

    def cancel(self, stored: Stored) -> dict[str, Any]:
        self.cancelled.append(stored.id)
        if self.status(stored) not in OVER:
            stored.frozen, stored.ended = self.done(stored), "canceled"
        return self.state(stored)

    def follow(self, stored: Stored) -> Script:
        play = events(self.texts, error=self.error).paced(self.pace)
        return self.spoil(stored, play) if self.spoil else play


class environment:
    """The variables that an operator sets, for as long as the block lasts."""

    def __init__(self, url: str, more: Mapping[str, str] = OPTIONS) -> None:
        self.values = {"H2O_REPLICATE_URL": url, "REPLICATE_API_TOKEN": TOKEN, **more}
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name, value in self.values.items():
            self.patch.setenv(name, value)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def event(kind: str, data: str, number: int = 1) -> bytes:
    """One event as the streaming server writes it: an id, a type, and a data line for each line."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {kind}\nid: 1690212292:{number}\n{lines}\n".encode()


def events(
    texts: tuple[str, ...] | list[str], *, error: str | None = None, done: bool = True
) -> Play:
    """A prediction's stream: each step is one event, after the head."""
    pieces = [event("output", text, number) for number, text in enumerate(texts)]
    if error is not None:
        pieces.append(event("error", orjson.dumps({"detail": error}).decode()))
    if done:
        pieces.append(event("done", '{"reason": "error"}' if error else "{}"))
    sent = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    return Play((head(200, sent), *(chunk(piece) for piece in pieces), b"0\r\n\r\n"))


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Play:
    """A refusal in RFC 7807's form."""
    body = {"title": title, "detail": detail, "status": status}
    sent = {"content-type": "application/problem+json", **(headers or {})}
    return json(body, status, sent)
