"""YAML as plain data with the line of every place in it, and nothing of YAML that surprises.

Scalars are those of the core schema (YAML 1.2.2, section 10.3.2), so that `no` is a text, `12:30`
is no number and there are no dates. Refused are: anchors and aliases, tags, keys that are said
twice or are no text, several documents, and what is too long or too deep.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped]

from .problems import Path, Problems

SIZE_LIMIT = 2**20
"""Bytes of a file."""
DEPTH_LIMIT = 64
NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Open:
    """A list or a mapping that is being read."""

    value: list[Any] | dict[str, Any]
    path: Path
    key: str | None = None
    refused: bool = False
    """The key was no text: the value is read, and dropped."""
    seen: dict[str, int] = field(default_factory=dict)
    """The lines of a mapping's keys."""


REFUSED = "?"
"""In the place of a key that is no text."""


class TooDeep(Exception):
    """What is inside is not looked at."""


def decoded(data: bytes, problems: Problems) -> str:
    """A file's text; a mistake and "" if it is too long or not UTF-8."""
    if len(data) > SIZE_LIMIT:
        problems.add((), f"it is longer than {SIZE_LIMIT // 2**20} MiB")
    elif data.startswith(WIDE):
        problems.add((), "it is UTF-16 or UTF-32; save it as UTF-8")
    else:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            problems.add((), "it is not UTF-8", line)
    return ""


def scalar(text: str) -> Any:
    """What a plain scalar means. Raises ValueError for a number with too many digits."""
    if NULL.fullmatch(text):
        return None
    if BOOL.fullmatch(text):
        return text.lower() == "true"
    if INT.fullmatch(text):
        bases = {"0o": 8, "0x": 16}
        return int(text, bases.get(text[:2], 10))
    if FLOAT.fullmatch(text):
        word = text.lower()
        return float(word.replace(".", "") if word.endswith(("inf", "nan")) else word)
    return text


def load(text: str, problems: Problems) -> Any:
    """The data of a YAML text; None if it is empty or no YAML.

    Fills `problems.lines`: for a key the line of the key, for an item of a list its own.
    """
    if len(text) > SIZE_LIMIT:
        problems.add((), f"it is longer than {SIZE_LIMIT // 2**20} MiB")
        return None
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text.removeprefix("\ufeff"), Loader=LOADER):
            builder.take(event)
    except TooDeep:
        pass
    except (yaml.YAMLError, ValueError) as error:
        _tell(error, text, problems)
    return builder.root


def _tell(error: Exception, text: str, problems: Problems) -> None:
    """Where YAML ends, in words; a tab is what nobody sees."""
    mark = getattr(error, "problem_mark", None)
    line = None if mark is None else int(mark.line) + 1
    position = getattr(error, "position", None)
    if line is None and isinstance(position, int):
        line = text.count("\n", 0, position) + 1
    lines = text.split("\n")
    start = re.match(r"\s*", lines[line - 1]) if line and line <= len(lines) else None
    if start is not None and "\t" in start[0]:
        problems.add((), "a tab where the line begins: YAML wants spaces there", line)
        return
    if position is not None:
        problems.add((), "it holds a character that YAML does not allow", line)
        return
    reason = str(getattr(error, "problem", None) or "it cannot be read")
    problems.add((), f"it is not YAML: {reason}", line)


class _Builder:
    """Makes data of YAML's events. It does not recurse, so that depth is ours to limit."""

    def __init__(self, problems: Problems) -> None:
        self.root: Any = None
        self._problems = problems
        self._stack: list[_Open] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents == 2:
                line = event.start_mark.line + 1
                self._problems.add((), "a second document (---) begins; one file is one", line)
        elif self._documents != 1:
            return
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)

    def _node(self, event: Any) -> None:
        line = event.start_mark.line + 1
        top = self._stack[-1] if self._stack else None
        value = self._value(event, line)
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, value, line)
            if isinstance(event, yaml.CollectionStartEvent):  # a list as a key: refused above
                self._push(_Open(value, (*top.path, REFUSED)))
            return
        path: Path = ()
        if top is None:
            self.root = value
        elif isinstance(top.value, list):
            path = (*top.path, len(top.value))
            top.value.append(value)
            self._problems.lines[path] = line
        else:
            assert top.key is not None
            path = (*top.path, top.key)
            if not top.refused:
                top.value[top.key] = value
            top.key, top.refused = None, False
        if isinstance(event, yaml.CollectionStartEvent):
            self._push(_Open(value, path), line)

    def _push(self, opened: _Open, line: int | None = None) -> None:
        self._stack.append(opened)
        if len(self._stack) > DEPTH_LIMIT:
            self._problems.add(opened.path[:3], f"it is nested more than {DEPTH_LIMIT} deep", line)
            raise TooDeep

    def _key(self, top: _Open, key: Any, line: int) -> None:
        """The key of a mapping's next value; one that is wrong gets a name that is never kept."""
        if not isinstance(key, str):
            shown = "a list or a mapping" if isinstance(key, list | dict) else f"{key!r}"
            reason = f"the key {shown} is not a text; put it in quotes"
            self._problems.add(top.path, reason, line)
            top.key = REFUSED
            top.refused = True
        elif key in top.seen:
            first = top.seen[key]
            self._problems.add((*top.path, key), f"it is said twice, first in line {first}", line)
            top.key = key
        else:
            top.key = key
            top.seen[key] = line
            self._problems.lines[(*top.path, key)] = line

    def _value(self, event: Any, line: int) -> Any:
        place = self._place()
        if isinstance(event, yaml.AliasEvent):
            self._problems.add(place, f"aliases (*{event.anchor}) are not read here", line)
            return None
        if event.anchor is not None:
            self._problems.add(place, f"anchors (&{event.anchor}) are not read here", line)
        if event.tag is not None:
            self._problems.add(place, f"tags ({event.tag}) are not read here", line)
        if isinstance(event, yaml.SequenceStartEvent):
            return []
        if isinstance(event, yaml.MappingStartEvent):
            return {}
        if not event.implicit[0]:  # quoted, a block, or with a tag
            return event.value
        try:
            return scalar(event.value)
        except ValueError:
            self._problems.add(place, "a number with too many digits", line)
            return 0

    def _place(self) -> Path:
        """Where the next node is."""
        if not self._stack:
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        return top.path if top.key is None else (*top.path, top.key)
