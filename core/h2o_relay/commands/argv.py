"""Command-line words in the forms that h2oGPT's users type, made into the form that click reads.

h2oGPT is started through Python Fire: `--openai_port=5000`, `--ui=False`, `--base_model=None`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable

from ..settings import FALSE, TRUE, UNSET

WORDS = frozenset({"true", "false", "none"})  # may follow a switch as a word of their own


class BadSwitch(ValueError):
    """A switch was given a value that is neither true, false nor none."""


def normalise(
    tokens: Iterable[str],
    *,
    switches: Container[str],
    valued: Container[str],
    stop_at_word: bool = False,
) -> list[str]:
    """The same words with dashes in option names and plain `--x` or `--no-x` for every switch.

    `switches` holds the names (`--ui`) of options that are on or off, `valued` those of options
    with a value, whose values are never touched. A switch set to `None` is as if it had not been
    given. Everything after `--` is kept, and with `stop_at_word` also everything from the first
    word that is no option. Raises BadSwitch.
    """
    waiting = deque(tokens)
    words: list[tuple[str, str]] = []  # the word, and the switch that it sets if it sets one
    while waiting:
        token = waiting.popleft()
        if token == "--" or (stop_at_word and not token.startswith("-")):
            words += [(word, "") for word in (token, *waiting)]
            break
        name, equals, value = _split(token)
        switch = _switch(name, switches)
        if switch is None:
            words.append((name + equals + value, ""))
            if name in valued and not equals and waiting:
                words.append((waiting.popleft(), ""))
            continue
        if not equals and waiting and waiting[0].lower() in WORDS:
            value = waiting.popleft()
        elif not equals:
            value = "true"
        state = _state(token, value)
        words = [(word, owner) for word, owner in words if owner != switch]
        if state is not None:
            on = state is (name == switch)
            words.append((switch if on else f"--no-{switch[2:]}", switch))
    return [word for word, _ in words]


def repeated(words: Iterable[str], valued: Container[str]) -> list[str]:
    """The options with a value that are given more than once, and with different ones.

    `words` are normalised; of such options the last one counts, as in h2oGPT.
    """
    waiting = deque(words)
    given: dict[str, str] = {}
    twice: dict[str, None] = {}
    while waiting:
        word = waiting.popleft()
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name not in valued:
            continue
        if not equals and waiting:
            value = waiting.popleft()
        if given.setdefault(name, value) != value:
            twice[name] = None
    return list(twice)


def _split(token: str) -> tuple[str, str, str]:
    """`--a_b=c` as `--a-b`, `=`, `c`; anything that is no long option stays in one piece."""
    if not token.startswith("--"):
        return token, "", ""
    name, equals, value = token.partition("=")
    return name.replace("_", "-"), equals, value


def _switch(name: str, switches: Container[str]) -> str | None:
    """The switch that `--x` or `--no-x` sets; a switch called `--no-x` itself comes first."""
    if name in switches:
        return name
    positive = "--" + name.removeprefix("--no-")
    return positive if name.startswith("--no-") and positive in switches else None


def _state(token: str, value: str) -> bool | None:
    word = value.strip().lower()
    if word in UNSET:
        return None
    if word not in TRUE | FALSE:
        name = token.partition("=")[0]
        raise BadSwitch(f"{name}: {value!r} is not true, false or none")
    return word in TRUE
