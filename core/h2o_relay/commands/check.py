"""`h2o check`: are servers there, what are they, and what do they serve?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..settings import Settings
from .failures import FAILED, USAGE, Mistake, explain, tell
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, setting_options, settings_of, switch
from .servers import (
    configured_servers,
    describe,
    read_specs,
    resolved,
    server_arguments,
    servers_of,
)

if TYPE_CHECKING:
    from ..errors import BadServerString
    from ..plugins import Plugins
    from ..registry import ServerStatus
    from ..spec import ServerSpec


@click.command(cls=RelayCommand, short_help="Are servers there, and what do they serve?")
@server_arguments
@switch("parse-only", help="Only read the strings; the network is not touched.")
@switch("json", help="Print JSON.")
@setting_options(listening=False)
def check(servers: tuple[str, ...], **flags: Any) -> int:
    """Open servers and show what they are and which models they serve.

    Exits with 2 if a string cannot be read, 1 if a server cannot be reached.

    \b
    h2o check vllm:192.168.1.46:8000
    h2o check http://192.168.1.46:6112             find out what it is
    h2o check openai_chat --base-model gpt-4o --parse-only --json
    h2o check --model-lock @models.yaml
    """
    from ..plugins import Plugins

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    specs = configured_servers(servers, settings)
    specs = specs or configured_servers((settings.default_server,), settings)
    plugins = Plugins.discover(settings.load_plugins)
    read, refused = _read(plugins, specs, settings)
    for error in refused:
        tell(explain(error))
    if flags.get("parse_only"):
        rows = [
            _named(spec) | describe(server)
            for spec, server in zip(read, servers_of(read), strict=True)
        ]
    else:
        rows = run_async(_look(plugins, read, settings))
    rows += [_refused(error) for error in refused]
    _show(rows, flags)
    if refused:
        return USAGE
    return FAILED if any(row.get("state", "ready") != "ready" for row in rows) else 0


def _read(
    plugins: Plugins, specs: Sequence[ServerSpec], settings: Settings
) -> tuple[list[ServerSpec], list[BadServerString | Mistake]]:
    """The servers that can be read and opened, and the refusals of the others."""
    from ..errors import BadServerString

    read: list[ServerSpec] = []
    refused: list[BadServerString | Mistake] = []
    for given in specs:
        try:
            [spec] = read_specs(plugins, [given])
            [server] = servers_of([spec])
            read.append(replace(spec, server=resolved(server, settings, spec.base_model)))
        except (BadServerString, Mistake) as error:
            refused.append(error)
    return read, refused


async def _look(
    plugins: Plugins, specs: Sequence[ServerSpec], settings: Settings
) -> list[dict[str, Any]]:
    """Open the servers through a kernel and describe what was found."""
    from ..kernel import Kernel
    from .fetching import fetch_all
    from .session import waiting

    if not specs:
        return []
    await fetch_all(plugins, servers_of(specs), settings)
    async with Kernel(settings, specs, plugins) as kernel:
        with waiting("opening the servers"):
            await kernel.settled(settings.first_byte_timeout)
        found = kernel.status()
    return [_named(spec) | _found(status) for spec, status in zip(specs, found, strict=True)]


def _named(spec: ServerSpec) -> dict[str, Any]:
    """What the operator calls a server's model, if anything."""
    return {"base_model": spec.base_model, "display_name": spec.display_name}


def _found(status: ServerStatus) -> dict[str, Any]:
    models = [{"id": model.id, "max_context": model.max_context} for model in status.models]
    unknown = {"backend": None} if status.server.plugin is None else {}
    return {
        **describe(status.server),
        **unknown,
        "state": status.state,
        "reason": status.reason or None,
        "models": models,
    }


def _refused(error: BadServerString | Mistake) -> dict[str, Any]:
    reason = getattr(error, "reason", error.message)
    row = {"server": getattr(error, "shown", ""), "state": "invalid", "reason": reason}
    return row | {"column": getattr(error, "column", 0) or None}


def _show(rows: Sequence[Mapping[str, Any]], flags: Mapping[str, Any]) -> None:
    from .tables import print_json, print_table

    if flags.get("json"):
        print_json(rows)
        return
    good = [row for row in rows if row.get("state") != "invalid"]
    if not good:
        return
    if flags.get("parse_only"):
        names = ("server", "backend", "api", "base_url", "has_key", "model")
        headers = tuple(name.replace("_", " ").capitalize() for name in names)
        print_table(headers, [[row[name] for name in names] for row in good])
        return
    headers = ("Server", "Backend", "API", "State", "Models", "Context")
    print_table(headers, [_cells(row) for row in good])


def _cells(row: Mapping[str, Any]) -> tuple[Any, ...]:
    models = row.get("models") or []
    state = row["state"] + (f": {row['reason']}" if row.get("reason") else "")
    return (
        row["server"],
        row.get("backend"),
        row.get("api"),
        state,
        "\n".join(model["id"] for model in models) or None,
        "\n".join(str(model["max_context"] or "-") for model in models) or None,
    )
