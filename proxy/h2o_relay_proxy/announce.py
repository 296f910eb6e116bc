"""What the console says: where to chat, where the API is, a curl line that works, and news."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import orjson

from h2o_relay.admin import DeploymentView
from h2o_relay.commands.printable import one_line
from h2o_relay.entry import ServerStatus
from h2o_relay.health import ANSWERING
from h2o_relay.hosts import is_keyed
from h2o_relay.kernel import Kernel
from h2o_relay.registry import Snapshot
from h2o_relay.settings import Settings

if TYPE_CHECKING:
    from h2o_relay.accounting.ring import KeyRing

    from .chat_ui import ChatUI

SHOWN = 5  # models of a server that are named
STORE_WAIT = 5.0  # seconds for the store to say whether it has keys
FIRST_LOOK = 20.0  # seconds until servers that have not answered are called late


def told_port(wanted: int, port: int, flag: str) -> None:
    """A default port was taken."""
    print(f"Port {wanted} is taken, using {port} ({flag} chooses).", file=sys.stderr, flush=True)


async def announce(
    kernel: Kernel, settings: Settings, url: str, ui: ChatUI, out: TextIO,
    ring: KeyRing | None = None,
) -> None:  # fmt: skip
    """Print the addresses at once, and servers and chat UI as they become ready. `ring` knows
    whether callers need a key.
    """
    chat = f"{ui.url} (starting)" if ui.url else f"h2o chat, in another terminal; UI {ui.problem}"
    api = f"{url}/v1" if settings.serves_api else f"not served ({settings.api_switch})"
    print(f"\n  Chat   {chat}\n  API    {api}", file=out, flush=True)
    await kernel.settled(FIRST_LOOK)
    for line in (*listing(kernel.snapshot, kernel.status()), *pools(kernel.deployments())):
        print(f"  {line}", file=out)
    model = example(kernel.snapshot)
    if model is None:
        print("\n  No model can be asked yet.\n", file=out)
    elif settings.serves_api:
        print(f"\n  Try it:\n  {curl(url, model, await wanted_key(settings, ring))}\n", file=out)
    print("  Ctrl-C stops it.\n", file=out, flush=True)
    if ui.url:
        await ui.ready.wait()
        news = f"is not there: {ui.problem}" if ui.problem else f"is ready: {ui.url}"
        print(f"  The chat UI {news}\n", file=out, flush=True)


async def wanted_key(settings: Settings, ring: KeyRing | None) -> str:
    """The variable that holds a caller's key; "" where none is needed."""
    if is_keyed(settings):
        return "H2OGPT_OPENAI_API_KEY"
    if ring is not None:
        await ring.settled(STORE_WAIT)
    return "KEY" if ring is not None and ring.needed else ""


def listing(snapshot: Snapshot, servers: Sequence[ServerStatus]) -> Iterator[str]:
    """A line for each server with something to list: its models' names, as clients use them, and
    what keeps it from answering. `servers` are in the order of the snapshot's entries.
    """
    for place, status in enumerate(servers):
        first = snapshot.by_number.get(place)
        names = [
            route.deployment.name
            for route in snapshot.routes.values()
            if first is not None and route.entry is first.entry and route.deployment.visible
        ]
        if names or first is None:
            yield describe(names, status)


def describe(names: Sequence[str], status: ServerStatus) -> str:
    """One server in one line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    why = status.reason
    if status.state not in ANSWERING:
        how = status.state if status.stage in ("ready", "offline") else status.stage
        why = f"{how}: {why}; it is tried again" if why else how
    server = status.server.shown
    parts = (", ".join(names[:SHOWN]) + more, f"({server})", why) if names else (server, why)
    label = "Model" if names else "Server"
    return f"{label:7}" + "   ".join(one_line(part) for part in parts if part)


def pools(views: Iterable[DeploymentView]) -> Iterator[str]:
    """A line for each pool: its strategy and members, and what keeps it from answering."""
    for view in views:
        if view.strategy is not None:
            made = f"({view.strategy}: {', '.join(view.members)})"
            why = "" if view.state in ANSWERING else f"{view.state}: {view.reason}".rstrip(": ")
            yield "Pool   " + "   ".join(one_line(part) for part in (view.name, made, why) if part)


def example(snapshot: Snapshot) -> str | None:
    """The name of a listed model that answers: of a server that is ready, else of one that may
    become so; None where there is neither.
    """
    listed = [
        route
        for route in snapshot.routes.values()
        if route.deployment.visible and route.entry.up and route.deployment.kinds != frozenset()
    ]
    ready = [route for route in listed if route.entry.stage == "ready"]
    found = next(iter(ready or listed), None)
    return None if found is None else found.deployment.name


def curl(url: str, model: str, key: str) -> str:
    """A command that streams an answer; `key` is the variable that holds one."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "stream": True,
        "max_tokens": 100,
    }
    head = f' -H "Authorization: Bearer ${key}"' if key else ""
    return (
        f"curl -N {url}/v1/chat/completions{head} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(orjson.dumps(body).decode())}"
    )
