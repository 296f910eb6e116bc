"""`h2o plugin check`: does a plugin keep the contract?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .failures import FAILED, Mistake
from .options import RelayCommand, switch

if TYPE_CHECKING:
    from ..plugins import PluginInfo
    from .plugin_kit import Result


def complete_name(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """The names of the installed plugins, for tab completion."""
    from ..plugins import Plugins

    return [CompletionItem(name) for name in Plugins.discover().names() if name.startswith(word)]


@click.command(name="check", cls=RelayCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@switch("all", help="Every plugin that is installed.")
@switch("declared", help="Run nothing: show what the plugins say that they can do.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True,
              help="Plugins at the same time.")  # fmt: skip
@click.option("--limit", type=click.FloatRange(1), default=600, show_default=True,
              metavar="SECONDS", help="For one plugin's suite.")  # fmt: skip
@switch("json", help="Print JSON: what failed and what was skipped, with reasons.")
def check_plugins(names: tuple[str, ...], **flags: Any) -> None:
    """Run the conformance kit against installed plugins, and show what they can do.

    A plugin brings its suite along: an entry point of group h2o_relay.suites, or test_*suite*.py
    in tests/ of the folder that it was installed from. The exit code is 1 if a plugin fails.

    \b
    h2o plugin check vllm
    h2o plugin check --all
    h2o plugin check --all --declared
    """
    from .plugin_kit import declare, need_pytest
    from .plugin_matrix import as_json, headers, rows
    from .tables import print_json, print_table

    infos = _wanted(names, bool(flags.get("all")))
    need_pytest()
    proven = not flags.get("declared")
    if proven:
        results = list(_checked(infos, flags["jobs"], flags["limit"]))
    else:
        results = declare(infos, flags["limit"])
    if flags.get("json"):
        print_json([as_json(result) for result in results])
    else:
        _explain(results)
        print_table(headers(proven), rows(results, proven))
    if proven and not all(result.good for result in results):
        click.get_current_context().exit(FAILED)


def _wanted(names: tuple[str, ...], every: bool) -> list[PluginInfo]:
    from ..plugins import Plugins

    if every == bool(names):
        raise Mistake("name plugins, or say --all", "see: h2o plugin list")
    known = Plugins.discover().names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Mistake(f"no plugin named {unknown[0]!r} is installed", "see: h2o plugin list")
    if not known:
        raise Mistake("no plugins are installed", "see: h2o plugin install --help")
    return Plugins.discover(None if every else ",".join(names)).infos()


def _checked(infos: list[PluginInfo], jobs: int, limit: float) -> Iterator[Result]:
    """The results in order; each is told on stderr as it comes."""
    from concurrent.futures import ThreadPoolExecutor

    from .plugin_kit import check

    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda info: check(info, limit), infos):
            _tell(result)
            yield result


def _tell(result: Result) -> None:
    from .plugin_matrix import summary

    mark, color = ("ok", "green") if result.good else ("no", "red")
    line = f"{click.style(mark, fg=color)} {result.info.name}: {summary(result)}"
    click.echo(line, err=True)


def _explain(results: Iterable[Result]) -> None:
    """What failed, test by test, and what was left out of the suites."""
    from .printable import printable

    for result in results:
        name = result.info.name
        if result.problem is not None:
            click.echo(printable(f"{name}: {result.problem}\n"))
        for test in result.of("failed"):
            click.echo(printable(f"{name}: {test['check']}: {test['suite']}.{test['name']}"))
            click.echo(printable(_indented(test["reason"])) + "\n")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
