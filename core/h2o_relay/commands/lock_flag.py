"""`--model_lock` as it arrives from a shell: whole, or in the pieces that the shell left of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failures import Mistake

NAMES = frozenset({"--model_lock", "--model-lock"})


def words_of(words: Sequence[str]) -> list[str]:
    """Every word that is a value of the flag, or stands where white space has cut one."""
    found: list[str] = []
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        at += 1
        if name not in NAMES:
            continue
        if not equals and at < len(words):
            value = words[at]
            at += 1
        found.append(value)
        while _is_open(found[-1], words, at):
            found[-1] += f" {words[at]}"
            at += 1
        while at < len(words) and words[at].startswith("["):  # bash's, behind a flag without `=`
            found.append(words[at])
            at += 1
    return found


def _is_open(text: str, words: Sequence[str], at: int) -> bool:
    """Whether brackets are still open, and the next word can belong to them."""
    if not text.lstrip().startswith(("[", "{")) or at >= len(words):
        return False
    opened = text.count("[") + text.count("{") > text.count("]") + text.count("}")
    return opened and not words[at].startswith("--")


def refuse_pieces(words: Sequence[str]) -> None:
    """Raise Mistake, with the lock in quotes, if a shell has taken it apart."""
    from ..lock import keys, shell, source

    values = words_of(words)
    if all(_is_one(value, words) and _is_whole(value) for value in values):
        return
    entries = shell.rejoin(values, keys.known())
    if entries is None:
        raise Mistake("--model_lock cannot be read: it needs quotes around it for the shell",
                      f"for example: --model_lock={source.EXAMPLE}")  # fmt: skip
    raise Mistake(
        "the shell has taken --model_lock apart, for it has no quotes around it; with quotes:",
        "  " + shell.quoted(entries, "--model_lock", _hidden),
    )


def _is_one(value: str, words: Sequence[str]) -> bool:
    """White space has not cut it: with its inner quotes kept it is read again when put together."""
    return any(word in (value, f"{name}={value}") for word in words for name in NAMES)


def _is_whole(value: str) -> bool:
    """A lock that can be read, or one that is wrong for other reasons than missing quotes."""
    from ..lock import source

    if not value.lstrip().startswith(("[", "{")):
        return True
    return source.literal(value) is not source.UNREAD


def _hidden(key: str, value: Any) -> Any:
    """A value for people: without the secrets that it may hold."""
    if key == "h2ogpt_key":
        return "***"
    return _shown(value) if key == "inference_server" and isinstance(value, str) else value


def _shown(text: str) -> str:
    from ..errors import RelayError
    from ..plugins import Plugins

    try:
        return Plugins.discover().parse(text).shown
    except RelayError:
        return text.partition(":")[0] + ":***"
