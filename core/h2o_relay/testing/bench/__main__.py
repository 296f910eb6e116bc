"""Run the bench by hand: `python -m h2o_relay.testing.bench --port 9100`."""

from __future__ import annotations

import asyncio
import contextlib

import click

from ...errors import ModelNotFound
from .catalogue import BEHAVIOURS, described
from .grammar import read_name
from .peers import bannered, mute, refusing, resetting, unaccepting
from .server import Bench

WRONG = (
    ("refuses", refusing),
    ("never accepts", unaccepting),
    ("resets", resetting),
    ("is silent", mute),
    ("does not speak HTTP", bannered),
)


class _Help(click.Command):
    """Lists what the bench can do, a line each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Models, with their options"):
            for line in described():
                formatter.write(f"  {line}\n")


def _checked(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            read_name(name, BEHAVIOURS)
        except ModelNotFound as error:
            raise click.BadParameter(error.message) from None
    return names


@click.command(cls=_Help, context_settings={"max_content_width": 100})
@click.option("--port", default=9100, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--also", multiple=True, metavar="NAME", callback=_checked,
    help="List this model too, such as ok@tokens=200~delay=50. May be repeated.",
)  # fmt: skip
@click.option("--peers", is_flag=True, help="Ports that are wrong before any request, too.")
def main(port: int, also: tuple[str, ...], peers: bool) -> None:
    """Serve models that behave badly, on loopback, until Ctrl-C.

    The model's name of a request says how it is answered: reset, reset@after=0,
    ok@tokens=20~delay=50. GET /__requests counts what was asked for.
    """
    try:
        asyncio.run(_serve(port, also, peers))
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.ClickException(f"cannot serve on port {port}: {error.strerror}") from None


async def _serve(port: int, also: tuple[str, ...], peers: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bench = await stack.enter_async_context(Bench(also=also, port=port))
        click.echo(f"{bench.url} is a server string: h2o run vllm_chat:{bench.url}")
        for what, opened in WRONG if peers else ():
            entered = opened()
            if isinstance(entered, contextlib.AbstractAsyncContextManager):
                peer = await stack.enter_async_context(entered)
            else:
                peer = stack.enter_context(entered)
            click.echo(f"{peer.url} {what}")
        await _forever(bench)


async def _forever(bench: Bench) -> None:
    """Until Ctrl-C. A request that could not be read is told, and no reason to stop."""
    while True:
        await asyncio.sleep(0.5)
        while bench.errors:
            click.echo(f"a request failed here: {bench.errors.pop(0)!r}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m h2o_relay.testing.bench")
