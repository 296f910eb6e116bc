"""`h2o usage`: what requests used and have cost, as a table, CSV or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..accounting.dimensions import DIMENSIONS, FILTERS, SINCE
from .failures import Mistake
from .logs import log_if_asked
from .loops import run_async
from .notes import note
from .options import RelayCommand, chosen_level, setting_option, settings_of, switch, valued
from .relay_client import relay_options

if TYPE_CHECKING:
    from ..accounting.usage_query import UsageReport


def query_options(function: Any) -> Any:
    """A decorator: the options that say which requests are meant."""
    narrowing = {"key": "--caller", **{name: f"--{name}" for name in FILTERS if name != "key"}}
    helps = {
        "key": "Of this key alone, by its id or name.", "model": "Of this model or pool alone.",
        "deployment": "That this member of a pool answered.",
        "server": "That this server answered.", "route": "To this path.",
        "code": "That ended with this error.",
    }  # fmt: skip
    options = [
        valued("--by", multiple=True, metavar="WHAT", default=("key",), show_default=False,
               help=f"{', '.join(DIMENSIONS)}; several times, or with commas between; '' for the "
               "sum of all  [default: key]"),
        valued("--since", metavar="WHEN", default=SINCE, help="7d, 12h, today, month, or a date "
               f"such as 2026-01-31, in UTC  [default: {SINCE}]"),
        valued("--until", metavar="WHEN", help="The same; it ends before that."),
        *(valued(flag, f"only_{name}", multiple=True, metavar=name.upper(), help=helps[name])
          for name, flag in narrowing.items()),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command(cls=RelayCommand, short_help="What requests used, and what they cost.")
@query_options
@switch("csv", help="Print CSV.")
@switch("json", help="Print JSON.")
@setting_option("save_dir")
@setting_option("store")
@relay_options
def usage(**flags: Any) -> None:
    """Tell what requests used: their number, tokens, cost and time, by key, model, day and more.

    Costs are in the currency of the configured prices (docs/usage.md). The relay that --url names
    is asked, or the one on this machine if it takes the admin key that is known here, else the
    store is read.

    \b
    h2o usage
    h2o usage --by model --since 7d
    h2o usage --by day,key --since 2026-01-01 --until 2026-02-01 --csv > january.csv
    h2o usage --caller ci --by model --json
    """
    import time

    from ..accounting.usage_query import read_query
    from ..errors import InvalidRequest
    from .usage_source import found
    from .usage_table import print_csv, print_usage

    if flags.get("csv") and flags.get("json"):
        raise Mistake("--csv and --json are two forms of one answer: give one of them")
    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    given = {"by": flags["by"], "since": (flags["since"],), "until": (flags.get("until") or "",)}
    given |= {name: flags[f"only_{name}"] for name in FILTERS}
    try:
        query = read_query(given, time.time())
    except InvalidRequest as error:
        raise Mistake(error.message) from None
    report = run_async(found(query, flags, settings))
    if flags.get("json"):
        from .tables import print_json

        print_json(report.data())
    elif flags.get("csv"):
        print_csv(report)
    else:
        print_usage(report)
    _tell(report)


def _tell(report: UsageReport) -> None:
    if report.trouble:
        note(report.trouble)
    if report.more:
        note(f"there are more than {len(report.rows)} rows, which are left out")
