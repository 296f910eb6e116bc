"""`h2o keys`: the keys of callers, made, listed, revoked and rotated."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import click

from .failures import Mistake
from .logs import log_if_asked
from .loops import run_async
from .notes import note
from .options import RelayCommand, chosen_level, setting_option, settings_of, switch, valued
from .relay_client import relay_options

PERIODS = ("day", "month", "total")
COUNT = click.IntRange(1, 2**53)
MONEY = click.FloatRange(0, 2**53)
Work = Callable[[Any], Coroutine[Any, Any, Any]]


@click.group(invoke_without_command=True, short_help="Keys for callers of the API.")
@click.pass_context
def keys(ctx: click.Context) -> None:
    """The keys of those who call the API, and what each may.

    \b
    h2o keys create ci --models 'llama*' --rpm 60 --expires 30d
    h2o keys list
    h2o keys rotate ci --grace 1h
    h2o keys revoke ci

    They are made by the relay that runs here, if its admin key is known (ADMIN_PASS, --key), else
    straight in the store, where a running relay finds them within two seconds. As soon as there is
    a key, callers need one.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def where_options(function: Any) -> Any:
    """A decorator: the options that say which relay or store is meant."""
    for name in ("store", "save_dir"):
        function = setting_option(name)(function)
    return relay_options(function)


@keys.command(cls=RelayCommand, short_help="Make a key; it is shown once.")
@click.argument("name")
@valued("--model", "--models", "models", multiple=True, metavar="M",
        help="A model or pool it may use, also with * as in file names; several times, or with "
        "commas between. By default all.")  # fmt: skip
@valued("--rpm", "requests_per_minute", type=COUNT, help="Requests a minute.")
@valued("--tpm", "tokens_per_minute", type=COUNT,
        help="Tokens a minute, of prompts and answers together.")  # fmt: skip
@valued("--concurrent", type=COUNT, help="Requests at the same time.")
@valued("--budget", type=MONEY, help="Money, in the currency of the prices.")
@valued("--per", "budget_period", type=click.Choice(PERIODS), help="After which the budget is "
        "whole again: day, month (the default) or total, never.")  # fmt: skip
@valued("--expires", metavar="WHEN", help="30d, 12h, or a date such as 2030-01-01 (UTC).")
@switch("admin", help="It may use /admin, too.")
@switch("json", help="Print JSON.")
@where_options
def create(name: str, **flags: Any) -> None:
    """Make a key called NAME and print it, on a line of its own: it is kept nowhere.

    \b
    h2o keys create ci
    h2o keys create ann --model gpt-4o --model 'llama*' --rpm 60 --tpm 100000
    h2o keys create team --budget 50 --per month --concurrent 8 --expires 2030-01-01
    KEY=$(h2o keys create ci)
    """
    body: dict[str, Any] = {"name": name}
    given = ("requests_per_minute", "tokens_per_minute", "concurrent", "budget", "budget_period")
    body |= {field: flags[field] for field in given if flags.get(field) is not None}
    models = [one.strip() for text in flags["models"] for one in text.split(",") if one.strip()]
    body |= {"models": models} if models else {}
    if flags.get("budget_period") and flags.get("budget") is None:
        raise Mistake("--per says how long a budget lasts; give --budget, too")
    if flags.get("budget") != flags.get("budget"):
        raise Mistake("--budget: this is not a number")
    if flags.get("expires") is not None:
        body["expires"] = _moment(flags["expires"])
    body |= {"admin": True} if flags.get("admin") else {}

    async def work(source: Any) -> tuple[Any, bool, str]:
        first = not await source.all()
        return await source.create(body), first, source.place

    key, first, place = run(flags, work)
    _tell(key, flags)
    note(f"key {key['id']} ({name}) is in {place}; the key itself is kept nowhere")
    if first:
        note("it is the first one: callers of the API need a key from now on")


@keys.command(name="list", cls=RelayCommand, short_help="All keys, and what they may.")
@switch("all", help="Revoked ones, too.")
@switch("json", help="Print JSON.")
@where_options
def list_keys(**flags: Any) -> None:
    """The keys, by what people call them; of a key itself only the end is known.

    \b
    h2o keys list
    h2o keys list --all --json
    """
    from .keys_table import COLUMNS, cells
    from .tables import print_json, print_table

    found = run(flags, lambda source: source.all())
    if not flags.get("all"):
        found = [key for key in found if key.get("state") != "revoked"]
    if flags.get("json"):
        print_json(found)
    elif found:
        print_table(COLUMNS, [cells(key, time.time()) for key in found])
    else:
        click.echo("there are no keys; make one with: h2o keys create NAME", err=True)


@keys.command(cls=RelayCommand, short_help="End a key, for good.")
@click.argument("ref", metavar="ID|NAME")
@switch("json", help="Print JSON.")
@where_options
def revoke(ref: str, **flags: Any) -> None:
    """End a key for good, and the answers that are being streamed to who has it. What it used
    stays known.

    \b
    h2o keys revoke ci
    """
    from .tables import print_json

    key = run(flags, lambda source: source.revoke(ref))
    if flags.get("json"):
        print_json(key)
    else:
        click.echo(f"key {key['id']} ({key['name']}) is revoked")


@keys.command(cls=RelayCommand, short_help="Another key in place of one.")
@click.argument("ref", metavar="ID|NAME")
@valued("--grace", metavar="TIME", help="How long the old one stays good: 30m, 1h, 2d  "
        "[default: not at all]")  # fmt: skip
@switch("json", help="Print JSON.")
@where_options
def rotate(ref: str, **flags: Any) -> None:
    """Put a new key in place of one and print it: its id, its limits and what it used stay.

    \b
    h2o keys rotate ci
    h2o keys rotate ci --grace 1h
    """
    from .keys_table import date

    grace = 0.0 if flags.get("grace") is None else _span(flags["grace"])
    key = run(flags, lambda source: source.rotate(ref, grace))
    _tell(key, flags)
    old = date(key.get("old_until"))
    until = "is good no longer" if old is None else f"is good until {old} UTC"
    note(f"key {key['id']} ({key['name']}) is rotated; the old one {until}")


def run(flags: Mapping[str, Any], work: Work) -> Any:
    """What `work` makes of the source that the flags mean."""
    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))

    async def main() -> Any:
        from .keys_source import source

        async with source(flags, settings) as found:
            return await work(found)

    return run_async(main())


def _tell(key: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """The key, to stdout."""
    from .tables import print_json

    if flags.get("json"):
        print_json(key)
    else:
        click.echo(key["key"])


def _moment(text: str) -> float:
    from ..accounting.moments import moment

    now = time.time()
    try:
        found = moment(text, now)
    except ValueError as error:
        raise Mistake(f"--expires: {error}") from None
    if found <= now:
        raise Mistake(f"--expires: {text} is not in the future")
    return found


def _span(text: str) -> float:
    from ..accounting.moments import span

    try:
        return span(text)
    except ValueError as error:
        raise Mistake(f"--grace: {error}") from None
