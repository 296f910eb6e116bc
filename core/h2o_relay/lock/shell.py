"""A lock without quotes, as a shell hands it over: put together again, to be shown with quotes.

bash expands `[{'a':'1','b':'2'},{'c':'3','d':'4'}]` into one word for each way of picking a pair
from every brace, `[a:1,c:3] [a:1,d:4] [b:2,c:3] [b:2,d:4]`, and takes the quotes away. A brace with
one pair stays: `[{a:1}]`. Other shells leave the braces and take the quotes away. White space
between pairs makes words of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from .source import literal


def is_split(words: Sequence[str]) -> bool:
    """Whether these words, all that stood for a lock, are what a shell left of one."""
    return len(words) > 1 or "{" in words[0] or words[0].lstrip().startswith("[")


def rejoin(words: Sequence[str], keys: Collection[str]) -> list[dict[str, Any]] | None:
    """The lock that was meant; None if it cannot be told.

    `words` are the values of every `--model_lock` and what stood between them; `keys` are the
    names by which pairs are recognised.
    """
    braces = any(_pairs_in_brace(word, keys) > 1 for word in words)
    if braces or any(word[:1] not in "[" for word in words[1:]):
        return _from_braces(" ".join(words), keys)
    return _from_picks(words, keys)


def quoted(entries: Sequence[dict[str, Any]], flag: str, hide: Callable[[str, Any], Any]) -> str:
    """The flag as it is to be typed; `hide(key, value)` is the value without its secrets."""
    rows = ", ".join(
        "{" + ", ".join(f"{_text(key)}: {_text(hide(key, value))}" for key, value in row.items())
        + "}"
        for row in entries
    )  # fmt: skip
    return f'{flag}="[{rows}]"'


def _text(value: Any) -> str:
    """A value as a Python literal that survives double quotes in a shell."""
    return re.sub(r'([\\"$`])', r"\\\1", repr(value))


def _pair(keys: Collection[str]) -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
    return re.compile(rf"(?:^|[\[{{,\s])\s*['\"]?({names})['\"]?\s*:")


def _pairs_in_brace(word: str, keys: Collection[str]) -> int:
    return max((len(_pair(keys).findall(part)) for part in re.findall(r"\{[^}]*", word)), default=0)


def _pairs(text: str, keys: Collection[str]) -> list[tuple[str, Any]]:
    """The pairs in a text, in order; what stands between two is the value of the first."""
    found = list(_pair(keys).finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)][: len(found)]
    return [
        (match[1], _value(_trimmed(text[match.end() : end])))
        for match, end in zip(found, ends, strict=True)
    ]


def _trimmed(text: str) -> str:
    """Without the comma and the brackets after a value; those of an IPv6 address are its own."""
    text = text.strip()
    while text[-1:] in (",", "]", "}", " ") and text:
        if text[-1] == "]" and text.count("[") >= text.count("]"):
            break
        text = text[:-1]
    return text


def _value(text: str) -> Any:
    """Numbers, True, False and None as such, anything else as a text."""
    value = literal(text)
    return value if isinstance(value, int | float | str | None) else text


def _from_braces(text: str, keys: Collection[str]) -> list[dict[str, Any]] | None:
    parts = re.split(r"\}\s*,?\s*\{", text)
    rows = [dict(_pairs(part, keys)) for part in parts]
    return rows if all(rows) else None


def _from_picks(words: Sequence[str], keys: Collection[str]) -> list[dict[str, Any]] | None:
    """Every word has one pair of each entry, so that an entry is what stands in one place."""
    table = [_pairs(word, keys) for word in words]
    width = len(table[0])
    if not width or any(len(row) != width for row in table):
        return None
    rows: list[dict[str, Any]] = []
    for place in range(width):
        row: dict[str, Any] = {}
        for pairs in table:
            key, value = pairs[place]
            if row.setdefault(key, value) != value:
                return None
        rows.append(row)
    return rows
