"""`h2o route explain`: who of a running relay's servers would answer a request now, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .failures import Failure
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, settings_of, switch
from .relay_client import RelayClient, relay_options

PATH = "/admin/route"
COLUMNS = ("Member", "State", "Asked", "Score", "Load", "First token", "Running", "Server", "Why")


@click.group(invoke_without_command=True, short_help="Which server answers, and why.")
@click.pass_context
def route(ctx: click.Context) -> None:
    """How requests find their servers.

    \b
    h2o route explain llama-3
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@route.command(cls=RelayCommand, short_help="Who would answer a request for a model now.")
@click.argument("model")
@switch("json", help="Print JSON.")
@relay_options
def explain(model: str, **flags: Any) -> None:
    """Ask the running relay who would answer a request for MODEL now, and why.

    MODEL is a pool or a single model. Each member is shown with its state, load, latency and the
    score that the pool's strategy gives it (the least is the best); docs/routing.md has the
    strategies and the reasons. Nothing is sent to a server. The relay wants its admin key for it.
    Exits with 3 if no relay answers.

    \b
    h2o route explain llama-3
    h2o route explain llama-3 --url http://10.0.0.9:5000 --key env:ADMIN_PASS --json
    """
    from .tables import print_json

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    found = run_async(_asked(RelayClient(flags, settings), model))
    if flags.get("json"):
        print_json(found)
    else:
        _show(found)


async def _asked(relay: RelayClient, model: str) -> Mapping[str, Any]:
    async with relay:
        found = await relay.ask_as_admin("POST", PATH, {"model": model})
    if not isinstance(found, dict) or not isinstance(found.get("members"), list):
        raise Failure(f"the relay at {relay.url} explains it in a form that is not known here")
    return found


def _show(found: Mapping[str, Any]) -> None:
    from .printable import printable
    from .tables import print_table

    for line in lines(found):
        click.echo(printable(line))
    click.echo()
    print_table(COLUMNS, [_cells(row) for row in found["members"]])


def lines(found: Mapping[str, Any]) -> list[str]:
    """What would become of a request, in words."""
    name = found.get("model")
    rows = found["members"]
    asked = next((row for row in rows if row.get("chosen") and row.get("in_question", True)), None)
    if not found.get("pool"):
        if asked is not None:
            return [f"{name} is one server's model, which would be asked."]
        return [f"{name} is one server's model, which cannot be asked now."]
    told = [f"{name} is a pool, strategy {found.get('strategy')}."]
    if asked is not None:
        told.append(f"{asked.get('member')} would be asked: {asked.get('why')}.")
    else:
        told.append(_otherwise(found))
    if found.get("fallback"):
        told.append(f"Where no member can answer, {found['fallback']} does.")
    if found.get("missing"):
        told.append(f"Not there (yet): {', '.join(map(str, found['missing']))}.")
    return told


def _otherwise(found: Mapping[str, Any]) -> str:
    """Where no member would be asked."""
    from ..health import ANSWERING

    if any(row.get("state") in ANSWERING for row in found["members"]):
        places = f"{found.get('waiting')} of {found.get('queue')} places are taken"
        return f"Every member that can answer has enough to do: a request would wait ({places})."
    return "No member can be asked now."


def _cells(row: Mapping[str, Any]) -> tuple[Any, ...]:
    latency = row.get("latency")
    able = row.get("in_question", True)
    asked = "no" if not able else "yes" if row.get("chosen") else "could be"
    why = ": ".join(str(part) for part in (row.get("why"), row.get("reason")) if part)
    return (
        row.get("member"),
        row.get("state"),
        asked,
        _number(row.get("score")),
        _number(row.get("load")),
        None if latency is None else f"{latency:.2f} s",
        row.get("running"),
        row.get("server"),
        why or None,
    )


def _number(value: Any) -> str | None:
    if not isinstance(value, int | float):
        return None
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:g}"
