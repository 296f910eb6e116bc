"""The output of a response out of a chat completion's message, in pieces or whole.

The pieces are the `delta` of OpenAI's `chat.completion.chunk`, with `reasoning_content` or
`reasoning` as vLLM, llama.cpp and others have it, and content in parts as Mistral has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from .growing import REASONING, REFUSAL, SUMMARY, TEXT, Called, Kind, Say, Spoken


class Output:
    """Grows by deltas; `items` is what there is."""

    def __init__(
        self, say: Say, new_id: Callable[[str], str], *, logprobs: bool, summary: bool
    ) -> None:
        """`new_id` makes an id that begins with its argument; `summary` tells reasoning as its
        summary.
        """
        self.items: list[dict[str, Any]] = []
        self._say, self._new_id = say, new_id
        self._logprobs, self._thought = logprobs, SUMMARY if summary else REASONING
        self._spoken: Spoken | None = None
        self._calls: list[Called] = []
        self._at: dict[int, Called] = {}  # calls by their index in the chat
        self._call_ids: set[str] = set()

    def grow(self, delta: dict[str, Any], logprobs: Any = None) -> None:
        """A piece of a message, or all of it; `logprobs` is the choice's."""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and isinstance(thought, str):
            self._grow("reasoning", self._thought, thought)
        tokens = _tokens(logprobs) if self._logprobs else []
        content = delta.get("content")
        for kind, piece in _pieces(content):
            self._grow("message" if kind is TEXT else "reasoning",
                       kind if kind is TEXT else self._thought, piece, tokens)  # fmt: skip
            tokens = []
        if tokens and self._spoken is not None:
            self._spoken.hold(tokens)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._grow("message", REFUSAL, refusal)
        for note in as_list(delta.get("annotations")):
            self._annotate(note)
        for place, call in enumerate(as_list(delta.get("tool_calls"))):
            self._call(call, place)

    def end(self, reason: str | None) -> None:
        """All that is open ends; what was said last is incomplete where `reason` says so."""
        cut = reason in ("length", "content_filter")
        for call in self._calls:
            if not call.begun:
                self._begin(call)
        if not self.items:
            self._message().open(TEXT)
        last = "incomplete" if cut else "completed"
        if self._spoken is not None:
            self._spoken.end(last)
        for call in self._calls:
            call.end(last if call is self._calls[-1] else "completed")
        self._spoken, self._calls = None, []

    def settle(self) -> None:
        """Write into the items what has been said so far: the answer breaks off here."""
        for growing in (self._spoken, *self._calls):
            if growing is not None:
                growing.settle()
                growing.item["status"] = "incomplete"

    def _grow(self, what: str, kind: Kind, piece: str, logprobs: list[Any] | None = None) -> None:
        spoken = self._spoken
        if spoken is None or spoken.item["type"] != what:
            spoken = self._message() if what == "message" else self._reasoning()
        spoken.grow(kind, piece, logprobs or [])

    def _message(self) -> Spoken:
        item = {"id": self._new_id("msg_"), "type": "message", "status": "in_progress",
                "role": "assistant", "content": []}  # fmt: skip
        return self._open(item)

    def _reasoning(self) -> Spoken:
        item = {"id": self._new_id("rs_"), "type": "reasoning", "status": "in_progress",
                "summary": []}  # fmt: skip
        if self._thought is REASONING:
            item["content"] = []
        return self._open(item)

    def _open(self, item: dict[str, Any]) -> Spoken:
        self._close()
        number = self._add(item)
        self._say("response.output_item.added", {"output_index": number, "item": item})
        self._spoken = spoken = Spoken(item, number, self._say)
        return spoken

    def _close(self) -> None:
        if self._spoken is not None:
            self._spoken.end("completed")
            self._spoken = None

    def _add(self, item: dict[str, Any]) -> int:
        self.items.append(item)
        return len(self.items) - 1

    def _annotate(self, note: Any) -> None:
        """A citation. Chat completions have its fields one level deeper."""
        cited = note.get("url_citation") if isinstance(note, dict) else None
        if isinstance(cited, dict):
            spoken = self._spoken
            if spoken is None or spoken.item["type"] != "message":
                spoken = self._message()
            spoken.annotate({"type": "url_citation", **cited})

    def _call(self, given: Any, place: int) -> None:
        """A piece of a call. Whole messages, and some servers' pieces, have no index."""
        if not isinstance(given, dict):
            return
        function = given.get("function")
        function = function if isinstance(function, dict) else {}
        index, name, given_id = given.get("index"), function.get("name"), given.get("id")
        if type(index) is not int:
            index = place
        call = self._at.get(index)
        # Another id beside a name is another call, whatever its index: Ollama once numbered all 0.
        if call is None or (name and given_id and call.given_id not in (None, given_id)):
            call = self._at[index] = self._called(given_id)
        if name and not call.begun:
            call.item["name"] = str(name)
            self._begin(call)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers do not encode them
            arguments = orjson.dumps(arguments).decode()
        if arguments and isinstance(arguments, str):
            call.grow(arguments)

    def _called(self, given_id: Any) -> Called:
        """A new call. Its id ties the result to it, so that there may be no second one of it."""
        call_id = given_id
        if not call_id or not isinstance(call_id, str) or call_id in self._call_ids:
            call_id = self._new_id("call_")
        self._call_ids.add(call_id)
        item = {"id": self._new_id("fc_"), "type": "function_call", "status": "in_progress",
                "arguments": "", "call_id": call_id, "name": ""}  # fmt: skip
        call = Called(item, given_id, self._say)
        self._calls.append(call)
        return call

    def _begin(self, call: Called) -> None:
        self._close()
        call.begin(self._add(call.item))


def _pieces(content: Any) -> list[tuple[Kind, str]]:
    """What a delta's content says: text, or parts of which some are thoughts."""
    if isinstance(content, str):
        return [(TEXT, content)] if content else []
    found: list[tuple[Kind, str]] = []
    for part in _dicts(content):
        if isinstance(part.get("text"), str) and part["text"]:
            found.append((TEXT, part["text"]))
        thought = part.get("thinking")
        inner = _dicts(thought) if isinstance(thought, list) else [{"text": thought}]
        texts = [one.get("text") for one in inner]
        found += [(REASONING, text) for text in texts if isinstance(text, str) and text]
    return found


def _tokens(logprobs: Any) -> list[Any]:
    """The tokens of a choice's logprobs; `bytes` is null there where a token is no text."""
    tokens = as_list(logprobs.get("content")) if isinstance(logprobs, dict) else []
    return [
        {**_token(token), "top_logprobs": [_token(t) for t in _dicts(token.get("top_logprobs"))]}
        for token in _dicts(tokens)
    ]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in as_list(value) if isinstance(one, dict)]


def as_list(value: Any) -> list[Any]:
    """What a server says may be of any type: what is no list has nothing in it."""
    return value if isinstance(value, list) else []


def _token(token: dict[str, Any]) -> dict[str, Any]:
    text = str(token.get("token") or "")
    data = token.get("bytes")
    return {
        "token": text, "logprob": token.get("logprob"),
        "bytes": list(text.encode("utf-8", "replace")) if data is None else data,
    }  # fmt: skip
