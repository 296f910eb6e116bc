"""What a plugin says that it can do, over all the server strings that it documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..plugins import Plugin, Plugins
from ..types import ALL, Capabilities

YES, SOME, NO = "yes", "some", "no"
Says = Callable[[Capabilities, Plugin], bool]

CAPABILITIES: Mapping[str, Says] = {
    "chat": lambda found, plugin: "chat" in found.kinds,
    "text": lambda found, plugin: "text" in found.kinds,
    "stream": lambda found, plugin: "stream" in found.fields,
    "cancel stream": lambda found, plugin: "stream" in found.cancels,
    "cancel generate": lambda found, plugin: bool(found.cancels),
    "tools": lambda found, plugin: "tools" in found.fields,
    "embeddings": lambda found, plugin: "/embeddings" in found.paths,
    "tokenizer": lambda found, plugin: found.tokenizer,
    "load": lambda found, plugin: "load" in plugin.hooks,
    "identify": lambda found, plugin: "identify" in plugin.hooks,
}
"""The matrix's columns. An answer in one piece is cancelled by closing it, or, where only a stream
stops the server, by asking for a stream: either will do."""


def describe(plugins: Plugins, name: str, strings: Iterable[str]) -> dict[str, str]:
    """`yes`, `no`, or `some` where it depends on the server string, for each capability; `fields`
    is `all` or how many request fields are honoured (`9` or `7 to 9`).

    Raises BadServerString, PluginError.
    """
    plugin = plugins.get(name)
    found = [plugin.capabilities(plugins.parse(text)) for text in strings]
    said = {
        column: _share([says(item, plugin) for item in found])
        for column, says in CAPABILITIES.items()
    }
    return {**said, "fields": _counted(found)}


def _share(answers: list[bool]) -> str:
    if all(answers):
        return YES
    return SOME if any(answers) else NO


def _counted(found: list[Capabilities]) -> str:
    counts: set[Any] = {"all" if item.fields is ALL else len(item.fields) for item in found}
    if len(counts) == 1:
        return str(counts.pop())
    numbers = sorted(item for item in counts if item != "all")
    return f"{numbers[0]} to {'all' if 'all' in counts else numbers[-1]}"
