"""What a stream has said so far, so that another server can go on with it.

Shapes are those of OpenAI's API reference; `docs/resume.md` says what is exact and what is not.
"""

from __future__ import annotations

from typing import Any

import orjson

from .as_text import asked_stops
from .chunks import END, PREFIX, Chunk
from .continuing import asks_of, limit_of, speaker
from .errors import (
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from .guard import Guard
from .seam import Seam
from .tally import TOLD, Tally, without
from .types import Capabilities, Kind, Request

BREAKS = (UpstreamError, UpstreamTimeout, UpstreamUnavailable, RateLimited)
"""What another server may do better. An event over our own limit will be as large there."""
HEAD = ("id", "created", "model")
"""What is the same in every event of a stream."""


class Said:
    """What a stream has said so far."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.text = ""
        """The upstream's text, exactly, before any cutting."""
        self.finished = False
        """It had a finish reason: whatever happens now, it is whole."""
        self.begun = False
        """Something of it went on."""
        self.resumed = 0
        """How often another server went on. It grows before the first chunk of that server."""
        self.bound: str | None = None
        """Why it cannot be continued, if so: what it has beside its text."""
        self.asks: dict[str, Any] = {}
        """Request fields that make the server tell its tokens; what they add is taken out."""
        self._hidden: frozenset[str] = frozenset()
        self._asked: tuple[str | None, ...] = ()
        self._known: tuple[list[int] | None, tuple[str | None, ...]] = (None, ())
        self._limit: int | None = None
        self._head: dict[str, Any] = {}
        self._prompt: int | None = None
        self._before, self._certain = 0, True  # of the servers before the one that speaks
        self._full = self._firm = 0  # up to its turn: all, and without white space at the end
        self._tally = Tally(stops=False)
        self._seam = Seam("", "", ())
        self._guard: Guard | None = None

    @property
    def tokens(self) -> int:
        """Completion tokens of the text so far (`tally.py` says how exactly)."""
        return self._before + self._tally.tokens

    @property
    def token_ids(self) -> list[int] | None:
        """Prompt and answer so far as ids of tokens, where they are known and end with the text."""
        return self._last_known[0]

    @property
    def speaker(self) -> tuple[str | None, ...]:
        """Who said the last of it, and numbers tokens so (`continuing.speaker`)."""
        return self._last_known[1]

    @property
    def _last_known(self) -> tuple[list[int] | None, tuple[str | None, ...]]:
        return (self._tally.ids, self._asked) if self._tally.tokens else self._known

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the caller's prompt, once a server has told."""
        if self._prompt is not None or self._tally.prompt is None:
            return self._prompt
        return max(0, self._tally.prompt - self._before)

    def begin(self, request: Request, can: Capabilities, repeated: str = "") -> None:
        """Another server speaks next: call it for the first one, `continued` does for the others.

        The first one's request gets fields that make it tell its tokens, and then loses its `body`.
        `repeated` is the white space at the end of `text` that the server was not given; its tokens
        count when they come again.
        """
        first = self._guard is None
        self._prompt = self.prompt_tokens
        self._known = self._last_known
        if self._tally.tokens:
            self._full = self.tokens
            self._firm = self._before + self._tally.solid if self._tally.solid else self._firm
        self._before = self._firm if repeated else self._full
        self._certain = self._certain and self._tally.certain
        stops = (*asked_stops(request), *request.stops)
        self._tally = Tally(stops=bool(stops))
        self._seam = Seam(self.text, repeated, stops)
        self._guard = Guard(self._kind, {"n": 1}, request.deployment.server.key, can.finishes)
        self._asked = speaker(request)
        self.asks = asks_of(request.params, can)
        self._hidden = frozenset().union(*(TOLD[name] for name in self.asks))
        if first:
            self._limit = limit_of(request.params)
            if self.asks:
                request.params, request.body = {**request.params, **self.asks}, None

    def take(self, chunk: Chunk) -> tuple[Chunk | None, RelayError | None]:
        """What of a chunk goes on, and the error in it, if there is one.

        Once another server has taken over, its events have the first one's id, time and model, no
        role, and the usage of the whole answer.
        """
        guard = self._watching
        error = None if chunk.checked else guard.check(chunk)
        good = chunk if error is None else guard.good_part(chunk)
        if good is None:
            return None, error
        given = good.events()
        sent: list[dict[str, Any]] = []
        for event in given:
            bound = self._bound(event)
            if bound is not None and self.bound is None:
                if self.resumed and self.text:
                    error = UpstreamBadResponse(
                        f"the server that took over the answer adds {bound}"
                    )
                    break
                self.bound = bound
            sent += self._events(event)
            if self._seam.stopped:
                break
        self.begun = self.begun or bool(sent)
        if sent == given:
            return good, error
        return (_chunk(sent) if sent else None), error

    def end(self) -> RelayError | None:
        """What is wrong with a stream that ended here."""
        return self._watching.end()

    @property
    def stopped(self) -> bool:
        """A stop string that began at one server and ended at the next: nothing more counts."""
        return self._seam.stopped

    @property
    def used_up(self) -> bool:
        """The answer has every token that it may have, for certain."""
        certain = self._certain and self._tally.certain
        return self._limit is not None and certain and self.tokens >= self._limit

    def continuable(self, error: RelayError) -> bool:
        """Whether another server can go on after this error."""
        if not isinstance(error, BREAKS) or isinstance(error, UpstreamResponseTooLarge):
            return False
        # A character that broke in two was sent as U+FFFD: nobody can go on from that.
        return self.begun and self.bound is None and not self.text.endswith("\ufffd")

    def last(self) -> Chunk:
        """The end of an answer that was broken off after its last token."""
        text = self._seam.join("", True)
        self.text, self.finished = self.text + text, True
        body = {"delta": {"content": text} if text else {}} if self._chat else {"text": text}
        choice = {"index": 0, **body, "finish_reason": "length"}
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return _chunk([{**self._head, "object": kind, "choices": [choice]}])

    @property
    def _chat(self) -> bool:
        return self._kind == "chat"

    @property
    def _watching(self) -> Guard:
        assert self._guard is not None, "`begin` says who speaks"
        return self._guard

    def _bound(self, event: dict[str, Any]) -> str | None:
        """What an event has that is no text of the only choice."""
        for choice in event["choices"]:
            if choice.get("index"):
                return "a second choice"
            delta = choice.get("delta") or {}
            more = [k for k, v in delta.items() if v and k not in ("role", "content")]
            if more or isinstance(delta.get("content"), list):
                return f"{more[0]!r}" if more else "content in parts"
        return None

    def _events(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """The event as it goes on: one, or none if nothing is left of it."""
        if not self._head:
            self._head = {name: event[name] for name in HEAD if name in event}
        choices = event["choices"]
        if choices:
            self._tally.note(event, _text(choices[0]))
        sent = without(event, self._hidden) if self._hidden else event
        if not self.resumed:
            self._grow(choices)
            return [sent]
        sent = {**sent, **self._head}
        if sent.get("usage"):
            sent["usage"] = self._usage(sent["usage"])
        if not choices:
            return [sent]
        sent["choices"] = [self._joined(choice) for choice in sent["choices"]]
        self._grow(sent["choices"])
        nothing = not any(_says(choice) for choice in sent["choices"])
        return [] if nothing and not sent.get("usage") else [sent]

    def _grow(self, choices: list[dict[str, Any]]) -> None:
        for choice in choices:
            self.text += _text(choice)
            self.finished = self.finished or bool(choice.get("finish_reason"))

    def _joined(self, choice: dict[str, Any]) -> dict[str, Any]:
        """A later server's choice as the first one would have said it."""
        text = self._seam.join(_text(choice), bool(choice.get("finish_reason")))
        if self.stopped:
            choice = {**choice, "finish_reason": "stop"}
        if not self._chat:
            return {**choice, "text": text}
        delta = {k: v for k, v in (choice.get("delta") or {}).items() if k != "role"}
        if text or delta.get("content"):
            delta["content"] = text
        return {**choice, "delta": delta}

    def _usage(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The caller's prompt, and the tokens of all servers. A later server's prompt has what the
        ones before it said in it.
        """
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if type(prompt) is not int or type(completion) is not int:
            return usage
        known = self.prompt_tokens
        prompt = max(0, prompt - self._before) if known is None else known
        completion += self._before
        whole = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {**usage, **whole, "total_tokens": prompt + completion}


def _text(choice: dict[str, Any]) -> str:
    text = (choice.get("delta") or {}).get("content") if "delta" in choice else choice.get("text")
    return text if isinstance(text, str) else ""


def _says(choice: dict[str, Any]) -> bool:
    more = any((choice.get("delta") or {}).values())
    return bool(more or choice.get("text") or choice.get("finish_reason"))


def _chunk(events: list[dict[str, Any]]) -> Chunk:
    return Chunk(b"".join(PREFIX + orjson.dumps(event) + END for event in events), events)
