"""What `h2o config check` looks at beyond reading: server strings, chat templates, keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import click

from .. import settings as table
from ..config import Config, ConfigError, Problem, read_config
from ..settings import SettingError, Settings
from .loops import run_async
from .notes import note

if TYPE_CHECKING:
    pass


def checked(path: str, load_plugins: str | None) -> tuple[Config, list[str]]:
    """A file that `h2o run` could start with, and lines about what may be a mistake in it.

    Raises ConfigError.
    """
    from ..config.sections import doubts
    from ..plugins import Plugins

    env = table.environment()
    first = read_config_or_nothing(path)
    wanted = load_plugins if load_plugins is not None else first.settings.get("load_plugins")
    plugins = Plugins.discover(wanted)
    found = read_config(path, env, parse=plugins.parse)
    problems = [*_access(found), *run_async(_templates(found))]
    if problems:
        raise ConfigError(tuple(problems), path)
    return found, [*found.notes, *doubts(found.entries, found.pools)]


def read_config_or_nothing(path: str) -> Config:
    """A file without a look at its server strings, or an empty one where it has a mistake."""
    try:
        return read_config(path, table.environment())
    except ConfigError:
        return Config(path=path)


def _access(found: Config) -> list[Problem]:
    """Who may use the relay: lists of keys, and files with them."""
    from ..api_keys import ApiKeys

    chosen = {item.name for item in fields(Settings)} & set(found.settings)
    try:
        ApiKeys(Settings(**{name: found.settings[name] for name in chosen}))
    except SettingError as error:
        place = "settings.h2ogpt_api_keys"
        reason = str(error).removeprefix("--h2ogpt_api_keys").lstrip(": ")
        return [Problem(place, found.lines.get(place), reason)]
    return []


async def _templates(found: Config) -> list[Problem]:
    """Compile the chat templates."""
    from ..errors import RelayError
    from ..lock import tuning
    from ..prompts.templates import TemplateRenderer

    places = {"settings": found.settings}
    places |= {f"models[{number}]": entry for number, entry in enumerate(found.entries)}
    problems: list[Problem] = []
    async with TemplateRenderer() as renderer:
        for place, holder in places.items():
            text = holder.get("chat_template")
            if not text:
                continue
            where = f"{place}.chat_template"
            try:
                await renderer.check(tuning.template(text, where))
            except RelayError as error:
                problems.append(Problem(where, found.lines.get(where), error.message))
    return problems


def told(found: Config, notes: Sequence[str]) -> None:
    """Say what a good file has."""
    counts = [(len(found.settings), "setting"), (len(found.entries), "model entry"),
              (len(found.pools), "pool")]  # fmt: skip
    counts += [(len(found.prices.models), "price")] if found.prices else []
    plural = {"model entry": "model entries"}
    parts = [f"{n} {word if n == 1 else plural.get(word, word + 's')}" for n, word in counts]
    click.echo(f"{found.path}: no mistakes in {', '.join(parts[:-1])} and {parts[-1]}")
    for line in notes:
        note(line)
