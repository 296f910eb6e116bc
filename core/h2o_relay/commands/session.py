"""What `chat`, `ask`, `check` and `models` share: a kernel over the servers that are meant."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from .config_file import current_config
from .failures import Failure
from .fetching import fetch_all
from .servers import configured_servers, read_server, read_specs, servers_of, with_key
from .tables import console

if TYPE_CHECKING:
    from ..kernel import Kernel
    from ..plugins import Plugins
    from ..spec import ServerSpec

RELAY_PREFIX = "vllm_chat"  # how a relay is addressed as a server: as one more OpenAI-like server
PROBE_TIMEOUT = 2.0  # seconds for a relay on this machine to say that it is there


@asynccontextmanager
async def opened(texts: Sequence[str], settings: Settings) -> AsyncIterator[Kernel]:
    """A kernel over the given servers, once it knows a model.

    Without one that is the relay that runs on this machine, else the default server in this very
    process, with what it needs fetched first. Raises Failure if no model can be had.
    """
    from ..kernel import Kernel
    from ..plugins import Plugins

    plugins = Plugins.discover(settings.load_plugins)
    specs = await meant(plugins, texts, settings)
    await fetch_all(plugins, servers_of(specs), settings)
    async with Kernel(settings, specs, plugins) as kernel:
        await wait_for_models(kernel, settings)
        yield kernel


async def meant(plugins: Plugins, texts: Sequence[str], settings: Settings) -> list[ServerSpec]:
    """The servers that a command is about. Raises BadServerString, Mistake, Failure."""
    from ..lock.keys import is_local

    file = current_config()
    named = texts or settings.inference_server or settings.model_lock or (file and file.entries)
    if named or is_local(settings.base_model):
        return read_specs(plugins, configured_servers(texts, settings))
    url = relay_url(settings)
    if await relay_models(url, settings) is not None:
        server = with_key(read_server(plugins, f"{RELAY_PREFIX}:{url}"), settings.api_key, url)
        [spec] = configured_servers((f"{RELAY_PREFIX}:{url}",), settings)
        return [replace(spec, server=server)]
    specs = configured_servers((), settings)
    return read_specs(plugins, specs or configured_servers((settings.default_server,), settings))


def relay_url(settings: Settings) -> str:
    """Where a relay with these settings answers on this machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.ssl_certfile else "http"
    return f"{scheme}://{host}:{settings.openai_port}/v1"


async def relay_models(url: str, settings: Settings) -> list[dict[str, Any]] | None:
    """The models of the relay at `url`; None if there is none. Failure if it wants another key."""
    import orjson

    from ..errors import RelayError
    from ..http import HttpClient

    limits = {"first_byte": PROBE_TIMEOUT, "idle": PROBE_TIMEOUT, "total": 2 * PROBE_TIMEOUT}
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    hurried = replace(settings, connect_timeout=min(PROBE_TIMEOUT, settings.connect_timeout))
    try:
        async with HttpClient(hurried) as client:
            request = client.request(
                "GET", f"{url.rstrip('/')}/models", headers=headers, body=b"", **limits
            )
            async with request as response:
                status, body = response.status, await response.read(settings.max_event)
    except RelayError:
        return None
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if status == 401 and isinstance(answer, dict) and "error" in answer:
        raise Failure(f"the relay at {url} wants a key", "set H2O_API_KEY, or give --api-key")
    models = answer.get("data") if isinstance(answer, dict) and status == 200 else None
    return models if isinstance(models, list) else None


async def wait_for_models(kernel: Kernel, settings: Settings) -> None:
    """Wait until every server was looked at. Raises Failure, with reasons, if none has a model."""
    with waiting("opening the server"):
        await kernel.settled(settings.first_byte_timeout)
    if not kernel.models():
        reasons = [
            f"{status.server.shown}: {status.reason or status.state}" for status in kernel.status()
        ]
        raise Failure(f"no model to talk to: {'; '.join(reasons)}", "see: h2o check")


def waiting(what: str) -> Any:
    """A spinner while a person waits; nothing where nobody looks."""
    if not sys.stderr.isatty():
        return nullcontext()
    return console(stderr=True).status(what)
