"""What the console says: where to chat, where the API is, a curl line that works, and news."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, TextIO

import orjson

from h2o_relay.kernel import Kernel, ServerStatus
from h2o_relay.settings import Settings

if TYPE_CHECKING:
    from .chat_ui import ChatUI

SHOWN = 5  # models of a server that are named
FIRST_LOOK = 20.0  # seconds until servers that have not answered are called late


def told_port(wanted: int, port: int, flag: str) -> None:
    """A default port was taken."""
    print(f"Port {wanted} is taken, using {port} ({flag} chooses).", file=sys.stderr, flush=True)


async def announce(kernel: Kernel, settings: Settings, url: str, ui: ChatUI, out: TextIO) -> None:
    """Print the addresses at once, and servers and chat UI as they become ready."""
    chat = f"{ui.url} (starting)" if ui.url else f"h2o chat, in another terminal; UI {ui.problem}"
    print(f"\n  Chat   {chat}\n  API    {url}/v1", file=out, flush=True)
    await kernel.settled(FIRST_LOOK)
    for status in kernel.status():
        print(f"  Model  {describe(status)}", file=out)
    models = kernel.models()
    if models:
        print(f"\n  Try it:\n  {curl(url, models[0].name, bool(settings.api_key))}\n", file=out)
    print("  Ctrl-C stops it.\n", file=out, flush=True)
    if ui.url:
        await ui.ready.wait()
        news = f"is not there: {ui.problem}" if ui.problem else f"is ready: {ui.url}"
        print(f"  The chat UI {news}\n", file=out, flush=True)


def describe(status: ServerStatus) -> str:
    """One server in one line: its models, or why it has none."""
    names = [model.id for model in status.models]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    what = ", ".join(names[:SHOWN]) + more
    if status.state != "ready" or not what:
        what = f"{status.state}: {status.reason}" if status.reason else status.state
    return f"{what}   ({status.server.shown})"


def curl(url: str, model: str, keyed: bool) -> str:
    """A command that streams an answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "stream": True,
        "max_tokens": 100,
    }
    key = ' -H "Authorization: Bearer $H2OGPT_OPENAI_API_KEY"' if keyed else ""
    return (
        f"curl -N {url}/v1/chat/completions{key} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(orjson.dumps(body).decode())}"
    )
