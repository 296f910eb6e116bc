"""A model that always says the same, on as many scripted servers as a test wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import orjson

from h2o_relay import openai_shape
from h2o_relay.chunks import Chunk
from h2o_relay.errors import RelayError
from h2o_relay.http import HttpClient
from h2o_relay.resuming import Said, continued, resuming
from h2o_relay.testing.scripts import Play, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Capabilities, Deployment, Kind, Request, Server

from .plain import target

WORDS = ("Caf", "\u00e9", " ", "\n\n", "12", " na\u00efve", "  ", "\U0001f600", ' "end"', "\n", ".")
"""One token each; its id is its place."""
WHOLE = "".join(WORDS)
PROMPT = "Say it: "
PROMPT_IDS = [100, 101, 102]
TALK = [{"role": "user", "content": "Say it."}]
COUNTS = Capabilities(tells_tokens={"timings_per_token": True}, continues_text=True)
IDS = Capabilities(
    tells_tokens={"return_token_ids": True}, continues_text=True, trims_text=True
)  # fmt: skip
PLAIN = Capabilities(continues_text=True)


def asked(kind: Kind, **params: Any) -> dict[str, Any]:
    body = {"messages": TALK} if kind == "chat" else {"prompt": PROMPT}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": "public", **body, **options, **params}


def request(kind: Kind, url: str = "http://h/v1", **params: Any) -> Request:
    server = Server(plugin="plain", url=url, key="sk-0123456789")
    return Request(
        kind=kind, params=asked(kind, **params), body=None,
        deployment=Deployment(name="public", server=server, model="theirs"),
    )  # fmt: skip


def begun(kind: Kind, can: Capabilities = PLAIN, **params: Any) -> Said:
    """What is said to a request whose server is about to speak."""
    said = Said(kind)
    said.begin(request(kind, **params), can)
    return said


def event(text: str | None, kind: Kind = "chat", id: str = "a", **more: Any) -> dict[str, Any]:
    """One event with a piece of text; `choice`, `delta` and what else is given are put into it."""
    choice = more.pop("choice", {})
    delta = more.pop("delta", {})
    body = {"text": text or ""}
    if kind == "chat":
        body = {"delta": {**({} if text is None else {"content": text}), **delta}}
    made = {"id": id, "created": 1, "model": "m", "choices": [
        {"index": 0, **body, "finish_reason": None, **choice}]}  # fmt: skip
    return {**made, **more}


def chunk(*events: dict[str, Any]) -> Chunk:
    return Chunk(b"".join(b"data: " + orjson.dumps(e) + b"\n\n" for e in events))


class Model:
    """Goes on from wherever a request has come to. `trims` is what chat templates do that cut
    white space off a message's end.
    """

    def __init__(self, name: str, trims: bool = False) -> None:
        self.name, self.trims = name, trims
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, received: Received, answer: Answer) -> None:
        await self.play(received)(received, answer)

    def play(self, received: Received) -> Play:
        params = received.json()
        self.asked.append(params)
        return sse(self.payloads("chat" if "chat" in received.path else "text", params))

    def payloads(self, kind: Kind, params: dict[str, Any]) -> list[bytes]:
        before, words = self._rest(kind, params)
        limit = params.get("max_tokens", 99)
        words, reason = words[:limit], "length" if limit <= len(words) else "stop"
        events = [event("", delta={"role": "assistant"})] if kind == "chat" else []
        ids, times = params.get("return_token_ids"), params.get("timings_per_token")
        for n, word in enumerate(words):
            place = WORDS.index(word) if word in WORDS else 99
            told = {"choice": {"token_ids": [place]}} if ids else {}
            count = {"timings": {"predicted_n": n + 1, "prompt_n": before, "cache_n": 0}}
            events.append(event(word, kind, **told, **(count if times else {})))
        events.append(event(None, kind, choice={"finish_reason": reason}))
        if ids and kind == "text":
            prompt = params["prompt"]
            given = prompt if isinstance(prompt, list) else [*PROMPT_IDS, *range(before - 3)]
            events[0]["choices"][0]["prompt_token_ids"] = given
        spent = {"prompt_tokens": before, "completion_tokens": len(words)}
        spent["total_tokens"] = before + len(words)
        events.append({**event(None), "choices": [], "usage": spent})
        head = {"id": self.name, "created": len(self.name), "model": self.name}
        return [orjson.dumps({**e, **head}) for e in events]

    def _rest(self, kind: Kind, params: dict[str, Any]) -> tuple[int, list[str]]:
        """Tokens of the prompt, with what was said in it, and the words that are left."""
        if kind == "text" and isinstance(params["prompt"], list):
            said = params["prompt"][len(PROMPT_IDS) :]
            assert params["prompt"] == [*PROMPT_IDS, *range(len(said))]
            return len(params["prompt"]), list(WORDS[len(said) :])
        text = str(params["prompt"]).removeprefix(PROMPT) if kind == "text" else ""
        if kind == "chat" and params["messages"][-1]["role"] == "assistant":
            assert params["continue_final_message"] is True
            assert params["add_generation_prompt"] is False
            text = params["messages"][-1]["content"]
            text = text.rstrip() if self.trims else text
        assert WHOLE.startswith(text)
        words, left = list(WORDS), text
        while left and left.startswith(words[0]):
            left = left[len(words.pop(0)) :]
        if left:  # in the middle of a word
            words[0] = words[0][len(left) :]
        return len(PROMPT_IDS) + len(WORDS) - len(words), words


class Servers:
    """Several servers in turn: each goes on where the one before broke off."""

    def __init__(self, http: HttpClient, urls: list[str], kind: Kind, can: Capabilities) -> None:
        self.http, self.urls, self.kind, self.can = http, urls, kind, can
        self.said = Said(kind)
        self.errors: list[RelayError] = []

    def request(self, **params: Any) -> Request:
        return request(self.kind, f"{self.urls[len(self.errors)]}/v1", **params)

    def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        server = request.deployment.server
        streaming = openai_shape.stream(target, server, self.http, request)
        return cast("AsyncGenerator[Chunk, None]", streaming)

    def ask(self, **params: Any) -> AsyncGenerator[Chunk, None]:
        first = self.request(**params)
        self.said.begin(first, self.can)

        async def again(error: RelayError) -> AsyncGenerator[Chunk, None]:
            self.errors.append(error)
            if len(self.errors) == len(self.urls):
                raise error
            fresh = self.request(**params)
            fields, changes = continued(self.kind, fresh.params, fresh, self.said, self.can)
            return self.stream(replace(fresh, params=fields, **changes))

        return resuming(self.stream(first), self.said, again)

    async def events(self, **params: Any) -> list[dict[str, Any]]:
        return [event async for chunk in self.ask(**params) for event in chunk.events()]


@asynccontextmanager
async def serving(*scripts: Any) -> AsyncIterator[tuple[HttpClient, list[str]]]:
    """An HTTP client, and a server for each script."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(ScriptedUpstream(s)) for s in scripts]
        http = await stack.enter_async_context(HttpClient(quick()))
        yield http, [upstream.url for upstream in upstreams]


def texts(events: list[dict[str, Any]]) -> str:
    return chunk(*events).text


def undisturbed(events: list[dict[str, Any]], kind: Kind, name: str) -> None:
    """Assert that these events are one whole answer of the server `name`."""
    assert texts(events) == WHOLE
    assert {(e["id"], e["created"], e["model"]) for e in events} == {(name, len(name), name)}
    choices = [choice for e in events for choice in e["choices"]]
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"]
    if kind == "chat":
        assert [c["delta"]["role"] for c in choices if "role" in c["delta"]] == ["assistant"]
    keys = {key for e in [*events, *choices] for key in e}
    assert not keys & {"token_ids", "prompt_token_ids", "timings"}
