"""How many tokens an answer has so far, as exactly as its server tells while it streams.

Read are vLLM's `token_ids` and `prompt_token_ids` (asked for by `return_token_ids`) and its
`continuous_usage_stats`, and llama.cpp's `timings` (asked for by `timings_per_token`; the README of
its server). Of a server that tells none of these every piece of text counts as one token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

TOLD = {
    "return_token_ids": frozenset({"token_ids", "prompt_token_ids"}),
    "timings_per_token": frozenset({"timings"}),
}
"""What request fields add to the events of a stream, or to their choices."""


class Tally:
    """The tokens of what one server says. With `stops` it holds text back, as vLLM does where it
    looks for stop strings: its ids are ahead of its text then.
    """

    __slots__ = (
        "_at_text",
        "_clean",
        "_ids",
        "_pieces",
        "_prompt_ids",
        "_stops",
        "_told",
        "prompt",
        "solid",
    )

    def __init__(self, stops: bool) -> None:
        self._stops = stops
        self._ids: list[int] = []
        self._at_text: int | None = None  # how many ids there were when the last text came
        self._clean = False
        self._pieces = 0
        self._told: int | None = None
        self._prompt_ids: list[int] | None = None
        self.prompt: int | None = None
        """Tokens of the prompt, if the server has told."""
        self.solid = 0
        """`tokens` without those at the end that are nothing but white space."""

    @property
    def tokens(self) -> int:
        """Tokens of the text so far. What came after the last text is not in it yet: it will be
        generated again.
        """
        if self._at_text is not None:
            return self._at_text
        return self._pieces if self._told is None else self._told

    @property
    def certain(self) -> bool:
        """The server has told the count, and the text is all of these tokens."""
        return not self._pieces or self._clean or (self._at_text is None and self._told is not None)

    @property
    def ids(self) -> list[int] | None:
        """The prompt and the answer so far; None where that is not known for certain."""
        if self._prompt_ids is None or not self._clean or self._at_text is None:
            return None
        return [*self._prompt_ids, *self._ids[: self._at_text]]

    def note(self, event: Mapping[str, Any], text: str) -> None:
        """Count an event with a choice, whose text that is."""
        choice = event["choices"][0]
        if text:
            self._pieces += 1
        self._note_ids(event, choice, text)
        timings, usage = event.get("timings"), event.get("usage")
        if isinstance(timings, dict):
            self._tell(timings.get("predicted_n"), text)
            self._prompt(timings.get("prompt_n"), timings.get("cache_n"))
        if isinstance(usage, dict):
            self._tell(usage.get("completion_tokens"), text)
            self._prompt(usage.get("prompt_tokens"), 0)
        if text.strip():
            self.solid = self.tokens

    def _note_ids(self, event: Mapping[str, Any], choice: Mapping[str, Any], text: str) -> None:
        prompt = choice.get("prompt_token_ids") or event.get("prompt_token_ids")
        if self._prompt_ids is None and _are_ids(prompt):
            self._prompt_ids = prompt
            self._prompt(len(prompt), 0)
        ids = choice.get("token_ids")
        if not _are_ids(ids):
            if text:
                self._clean = False
            return
        self._ids += ids
        if text:
            # Of several tokens that come at once the last may be the first half of a character.
            self._at_text, self._clean = len(self._ids), len(ids) == 1 and not self._stops

    def _tell(self, count: Any, text: str) -> None:
        if text and type(count) is int and count > 0:
            self._told = count

    def _prompt(self, computed: Any, cached: Any) -> None:
        if self.prompt is None and type(computed) is int:
            self.prompt = computed + (cached if type(cached) is int else 0)


def _are_ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def without(event: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """An event without what only we have asked for. llama.cpp tells its timings at an answer's end
    unasked: there they stay.
    """
    choices = event.get("choices")
    if not choices or any(choice.get("finish_reason") for choice in choices):
        names = names - TOLD["timings_per_token"]
    kept = {name: value for name, value in event.items() if name not in names}
    if choices:
        kept["choices"] = [{k: v for k, v in c.items() if k not in names} for c in choices]
    return kept
