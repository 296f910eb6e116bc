"""One choice of a streamed answer: TGI's token events in, OpenAI's chunks out."""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.chunks import END, PREFIX
from h2o_relay.prompts.stops import StopCutter
from h2o_relay.types import Chunk, Request, Server

from . import failures
from .answers import Pair, count, finish_reason, logprobs, token_of
from .parameters import wants_logprobs
from .stops import stops_of


class Choice:
    """Feed it the events of /generate_stream (StreamResponse) until it is `over`.

    Text that may become a stop sequence is held back. An answer is over at TGI's last event, which
    brings the details, or at a stop sequence that TGI did not see: then the server is still
    `running`.
    """

    def __init__(
        self, request: Request, server: Server, id: str, index: int, echo: str = ""
    ) -> None:
        """`echo` is put in front of the answer."""
        self._request, self._server = request, server
        self._id, self._index, self._echo = id, index, echo
        self._cutter = StopCutter(stops_of(request))
        self._said: list[str] = []  # what came as tokens
        self._pairs: list[Pair] | None = [] if wants_logprobs(request) else None
        self._sent = self._covered = 0  # characters sent, and those of them with log-probabilities
        self._begun = False
        self.tokens = 0
        """Tokens generated so far."""
        self.prompt_tokens: int | None = None
        """Tokens of the prompt, from a server that says so (since 2.3)."""
        self.over = False
        self.running = True

    def take(self, event: dict[str, Any]) -> list[Chunk]:
        """The chunks that an event completes. Raises RelayError for one that is an error."""
        if event.get("error") is not None:
            raise failures.in_stream(event, self._server)
        token = token_of(event)
        self.tokens += 1
        return [*self._echoed(), *self._more(event, token)]

    def _echoed(self) -> list[Chunk]:
        echo, self._echo = self._echo, ""
        self._covered += len(echo)
        return [self._made(echo)] if echo else []

    def _more(self, event: dict[str, Any], token: dict[str, Any]) -> list[Chunk]:
        text = ""
        if not token.get("special"):
            text = token["text"]
            self._said.append(text)
            if self._pairs is not None:
                self._pairs.append((token, event.get("top_tokens") or []))
        shown = self._cutter.feed(text)
        details = event.get("details")
        if details is not None:
            return self._last(shown, event, details)
        if self._cutter.stopped is not None:
            return self._end(shown, "stop", None)
        return [self._made(shown)] if shown else []

    def _last(self, shown: str, event: dict[str, Any], details: Any) -> list[Chunk]:
        reason = finish_reason(details)
        self.running = False
        self.tokens = count(details.get("generated_tokens")) or self.tokens
        self.prompt_tokens = count(details.get("input_length"))
        shown += self._cutter.feed(self._rest(event.get("generated_text")))
        shown += self._cutter.finish()
        return self._end(shown, reason if self._cutter.stopped is None else "stop", details)

    def _rest(self, generated: Any) -> str:
        """What the whole text has that no token brought: a character cut in two by the end."""
        said = "".join(self._said)
        if isinstance(generated, str) and generated.startswith(said):
            return generated[len(said) :]
        return ""

    def _end(self, shown: str, reason: str, details: Any) -> list[Chunk]:
        self.over = True
        wanted = self._request.params.get("details")
        last = self._made("", reason, details if wanted else None)
        return [self._made(shown), last] if shown else [last]

    def _made(self, text: str, reason: str | None = None, details: Any = None) -> Chunk:
        """The chunk, with the log-probabilities of the tokens that are out now."""
        chunk = Chunk.of(
            text, id=self._id, model=self._request.deployment.model, kind=self._request.kind,
            index=self._index, finish_reason=reason,
        )  # fmt: skip
        self._sent += len(text)
        extra: dict[str, Any] = {} if details is None else {"details": details}
        start, pairs = self._covered, self._out_now()
        if pairs:
            extra["logprobs"] = logprobs(self._request.kind, pairs, start)
        first, self._begun = not self._begun, True
        role = {"role": "assistant"} if first and self._request.kind == "chat" else {}
        if not extra and not role:
            return chunk
        (event,) = chunk.events()
        choice = event["choices"][0]
        choice |= extra
        if role:
            choice["delta"] = {**role, **choice["delta"]}
        return Chunk(PREFIX + orjson.dumps(event) + END, [event])

    def _out_now(self) -> list[Pair]:
        pairs = []
        while self._pairs:
            size = len(self._pairs[0][0]["text"])
            if self._covered + size > self._sent:
                break
            self._covered += size
            pairs.append(self._pairs.pop(0))
        return pairs
