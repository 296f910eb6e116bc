"""h2oGPT's other flags on our command lines: taken out, and answered with one line each.

h2oGPT is started through Python Fire: `--flag=value`, `--flag value`, `--flag`, `--noflag`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from ..h2ogpt import flags
from .argv import WORDS

VARIABLE = "H2OGPT_"


def without(words: Sequence[str], own: Container[str]) -> tuple[list[str], list[str]]:
    """The words without the flags that are h2oGPT's alone, and what to say of those.

    `own` are the command's options (`--temperature`), which are kept. What stands behind `--` is
    left alone.
    """
    kept: list[str] = []
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            kept += words[at - 1 :]
            break
        flag = _flag(word, own)
        if flag is None:
            kept.append(word)
            continue
        if "=" not in word and at < len(words) and _is_value(words[at], flag):
            at += 1
        found[word.partition("=")[0]] = flags.answer(flag.name)
    return kept, _lines(found.items())


def of_environment(env: Mapping[str, str], own: Container[str]) -> list[str]:
    """What to say of variables `H2OGPT_<FLAG>` for such flags; `own` are names of settings."""
    found = {}
    for variable in sorted(env):
        name = variable.removeprefix(VARIABLE).lower()
        if variable.startswith(VARIABLE) and name not in own and flags.find(name) is not None:
            found[variable] = flags.answer(name)
    return _lines(found.items())


def _flag(word: str, own: Container[str]) -> flags.Flag | None:
    if not word.startswith("--"):
        return None
    option = word.partition("=")[0].replace("_", "-")
    if option in own:
        return None
    name = option[2:].replace("-", "_")
    found = flags.find(name)
    if found is None and name.startswith("no"):
        positive = flags.find(name[2:].removeprefix("_"))
        return positive if positive is not None and positive.switch else None
    return found


def _is_value(word: str, flag: flags.Flag) -> bool:
    """Whether the next word is the flag's value; a switch has only true, false and none."""
    return word.lower() in WORDS if flag.switch else not word.startswith("--")


def _lines(found: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each answer, which names all that it is for."""
    names: dict[str, list[str]] = {}
    for name, says in found:
        names.setdefault(says, []).append(name)
    return [f"{', '.join(group)}: {says}" for says, group in names.items()]
