"""`${env.NAME}` in the texts of a configuration file.

`${env.NAME}` is the variable's text, `${env.NAME:-default}` the default where the variable is not
set or empty, as in a shell, and `$${` is `${` itself. What a variable holds is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .document import scalar
from .problems import Path, Problems

START = re.compile(r"\$?\$\{")
INSIDE = re.compile(r"env\.([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?")
WHOLE = re.compile(r"\$\{env\.[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}")
"""A value that is one reference and nothing else; its pattern is the schema's too."""


class BadReference(ValueError):
    """Its text is one line for a person, without what a variable holds."""


def fill(text: str, env: Mapping[str, str]) -> str:
    """`text` with its variables in place. Raises BadReference."""
    parts: list[str] = []
    at = 0
    while match := START.search(text, at):
        parts.append(text[at : match.start()])
        if match[0] == "$${":
            parts.append("${")
            at = match.end()
            continue
        end = text.find("}", match.end())
        inside = text[match.end() : end]
        if end < 0:
            raise BadReference("a ${ without its }; $${ writes ${ itself")
        # What is only a part of a text may be a part of a secret, and is not repeated.
        shown = f"${{{inside[:40]}}}" if len(text) == len(inside) + 3 else "a ${...} here"
        parts.append(_variable(inside, env, shown))
        at = end + 1
    parts.append(text[at:])
    return "".join(parts)


def escaped(text: str) -> str:
    """The text that `fill` makes `text` of."""
    return text.replace("${", "$${")


def _variable(inside: str, env: Mapping[str, str], shown: str) -> str:
    if "{" in inside or "$" in inside.partition(":-")[2]:
        raise BadReference("a reference inside of a reference: a default is a plain text")
    match = INSIDE.fullmatch(inside)
    if match is None:
        raise BadReference(
            f"{shown} is no reference; write ${{env.NAME}} or ${{env.NAME:-default}}, "
            "and $${ for ${ itself"
        )
    name, default = match[1], match[2]
    value = env.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise BadReference(
            f"the environment variable {name} is not set; ${{env.{name}:-default}} has a default"
        )
    return value


def filled(
    value: Any, path: Path, env: Mapping[str, str], typed: Callable[[Path], bool],
    problems: Problems,
) -> Any:  # fmt: skip
    """`value` with the variables in all of its texts; mistakes go to `problems`.

    `typed` says where a value that is wholly one reference may be a number or a boolean.
    """
    if isinstance(value, dict):
        return {
            key: filled(item, (*path, key), env, typed, problems) for key, item in value.items()
        }
    if isinstance(value, list):
        return [filled(item, (*path, n), env, typed, problems) for n, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        text = fill(value, env)
        if typed(path) and WHOLE.fullmatch(value):
            return scalar(text)
    except BadReference as error:
        problems.add(path, str(error))
        return None
    except ValueError:
        problems.add(path, "a number with too many digits")
        return None
    return text
