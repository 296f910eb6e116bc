"""What was done to a request, in words for people: messages left out, limits lowered, fields that
a server does not take. Programs read the headers (docs/api.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

OURS = frozenset({"stream", "stream_options", "truncation"})
"""Fields that frontends add by themselves: whoever asked has never heard of them."""
FOR_PROGRAMS = frozenset({"translated", "usage"})
"""Notes that say nothing to a person."""
MEMBER = "member"
"""The note of which member of a pool has answered."""
LIMITS = ("max_tokens", "max_completion_tokens")


def in_words(notes: Mapping[str, str] | None, dropped: Collection[str] = ()) -> list[str]:
    """Phrases for an answer's `notes` and `dropped` fields, to be read one by one.

    They begin in lower case and have no full stop. Another relay may have told a note, so that any
    name and value can be read: what is not known is repeated as it is.
    """
    told = (notes or {}).items()
    phrases = [_phrase(name, value) for name, value in told if name not in FOR_PROGRAMS]
    fields = [name for name in dropped if name not in OURS]
    if fields:
        verb = "was" if len(fields) == 1 else "were"
        phrases.append(f"the server does not take {_listed(fields)}, which {verb} ignored")
    return phrases


def _phrase(name: str, value: str) -> str:
    if name == "trimmed" and value.isdecimal():
        them, verb = ("message", "was") if int(value) == 1 else ("messages", "were")
        return f"{value} older {them} did not fit into the model's context and {verb} left out"
    if name == "trimmed-by":
        return "what fits was estimated, since the server does not count"
    if name == MEMBER:
        return f"answered by {value}"
    if name == "limited":
        field, _, most = value.partition("=")
        if field in LIMITS and most.isdecimal():
            tokens = "token" if int(most) == 1 else "tokens"
            return f"the answer's limit was lowered to {most} {tokens}"
    return f"{name}: {value}"


def _listed(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"
