"""`h2o check`: are servers there, what are they, and what do they serve?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..settings import Settings
from . import check_rows
from .failures import FAILED, USAGE, Mistake, explain, tell
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, setting_options, settings_of, switch
from .servers import (
    check_templates,
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
    from ..spec import ServerSpec


@click.command(cls=RelayCommand, short_help="Are servers there, and what do they serve?")
@server_arguments
@switch("parse-only", help="Only read the strings; the network is not touched.")
@switch("generate", help="Ask each server for one token, and say how long it takes.")
@switch("json", help="Print JSON.")
@setting_options(listening=False)
def check(servers: tuple[str, ...], **flags: Any) -> int:
    """Open servers and show what they are, which models they serve and what they can do.

    What is behind a bare URL is found out by GETs alone; nothing is generated unless --generate
    asks for it. Exits with 2 if a string cannot be read, 1 if a server cannot be reached or does
    not answer.

    \b
    h2o check vllm:192.168.1.46:8000
    h2o check http://192.168.1.46:6112             find out what it is
    h2o check --generate openai_chat               one token, and how long it took
    h2o check openai_chat --base-model gpt-4o --parse-only --json
    h2o check --model-lock @models.yaml
    """
    from ..plugins import Plugins
    from . import check_table
    from .tables import print_json

    generate = bool(flags.get("generate"))
    if generate and flags.get("parse_only"):
        raise Mistake("--generate asks the servers, and --parse-only touches no network")
    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    specs = configured_servers(servers, settings)
    specs = specs or configured_servers((settings.default_server,), settings)
    plugins = Plugins.discover(settings.load_plugins)
    read, refused = _read(plugins, specs, settings)
    for error in refused:
        tell(explain(error))
    run_async(check_templates(read))
    if flags.get("parse_only"):
        rows = [
            check_rows.named(spec) | describe(server)
            for spec, server in zip(read, servers_of(read), strict=True)
        ]
    else:
        rows = run_async(_look(plugins, read, settings, generate))
    rows += [check_rows.refused(error) for error in refused]
    if flags.get("json"):
        print_json(rows)
    else:
        check_table.show(rows, parsed=bool(flags.get("parse_only")), generated=generate)
    if refused:
        return USAGE
    return 0 if all(map(_is_well, rows)) else FAILED


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
    plugins: Plugins, specs: Sequence[ServerSpec], settings: Settings, generate: bool
) -> list[dict[str, Any]]:
    """Open the servers through a kernel and describe what was found."""
    from ..kernel import Kernel
    from .check_generate import round_trips
    from .fetching import fetch_all
    from .session import waiting

    if not specs:
        return []
    await fetch_all(plugins, servers_of(specs), settings)
    async with Kernel(settings, specs, plugins) as kernel:
        with waiting("opening the servers"):
            await kernel.settled(settings.first_byte_timeout)
        looked = kernel.status()
        rows = [
            check_rows.named(spec) | check_rows.found(status, plugins)
            for spec, status in zip(specs, looked, strict=True)
        ]
        if generate:
            with waiting("asking for a token"):
                trips = await round_trips(kernel)
            for row, trip in zip(rows, trips, strict=True):
                row["generate"] = trip
    return rows


def _is_well(row: Mapping[str, Any]) -> bool:
    """A server that is ready, and answered if it was asked to."""
    from ..health import ANSWERING

    trip = row.get("generate")
    return row.get("state", "healthy") in ANSWERING and not (trip and trip["error"])
