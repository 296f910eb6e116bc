"""The relay's own API as the one server of the page's kernel.

Unlike a server of somebody else, it is believed: its errors are passed on as it worded them.
The shapes are those of OpenAI's API reference, the errors those of `h2o_relay.errors`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson

from h2o_relay.errors import RelayError, UpstreamRejected, error_object
from h2o_relay.hookspecs import hookimpl
from h2o_relay.http import HttpClient, Response
from h2o_relay.kernel import Kernel
from h2o_relay.openai_shape import pass_note, read_models
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.sse import Splitter
from h2o_relay.types import Call, Capabilities, Chunk, Model, Request, Server, Target

NAME = "relay"
LIST_LIMIT = 8 * 2**20  # bytes
ERROR_LIMIT = 64 * 1024  # bytes
REFRESH = 3.0  # seconds between looks at the models
PATIENCE = 24 * 3600.0  # seconds; the relay watches its servers' clocks, the page does not


def open_kernel(url: str, key: str | None, settings: Settings) -> Kernel:
    """The kernel, to be entered, whose only server is the relay at `url`."""
    server = Server(plugin=NAME, url=f"{url.rstrip('/')}/v1", key=key, api="chat", shown=url)
    own = replace(
        settings,
        refresh=REFRESH,
        first_byte_timeout=PATIENCE,
        idle_timeout=PATIENCE,
        drain_timeout=0.0,
        http_proxy=None,  # the relay is on this machine, whatever its address
    )
    return Kernel(own, [server], Plugins.of(**{NAME: sys.modules[__name__]}))


@hookimpl
def parse_server_string(text: str) -> Server | None:
    """The page's server is made by `open_kernel`; nobody writes it down."""
    return None


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return Capabilities(truncates=True)


@hookimpl
def target(server: Server, call: Call) -> Target:
    key = {"authorization": f"Bearer {server.key}"} if server.key else {}
    url = f"{server.url}{call.path}"
    return Target(method=call.method, url=url, headers={**call.headers, **key}, body=call.body)


@hookimpl
async def list_models(server: Server, client: HttpClient) -> list[Model]:
    to = target(server, Call(method="GET", path="/models"))
    seconds = client.settings.request_timeout
    exchange = client.request(
        to.method, to.url, headers=to.headers, first_byte=seconds, total=seconds
    )
    async with exchange as response:
        if response.status >= 400:
            raise await refusal(response)
        return read_models(await response.read(LIST_LIMIT))


@hookimpl
async def stream(server: Server, client: HttpClient, request: Request) -> AsyncIterator[Chunk]:
    body = orjson.dumps({**request.params, "model": request.deployment.model})
    headers = {"content-type": "application/json"}
    to = target(server, Call(method="POST", path="/chat/completions", headers=headers, body=body))
    splitter = Splitter(client.settings.max_event)
    exchange = client.request(to.method, to.url, headers=to.headers, body=body)
    async with exchange as response:
        if response.status >= 400:
            raise await refusal(response)
        pass_note(request, response)
        request.drop(*dropped(response))
        async for data in response:
            events = splitter.feed(data)
            exchange.whole = splitter.done
            for payload in Chunk(events).payloads():
                yield _checked(payload)
            if splitter.done:
                return


def dropped(response: Response) -> list[str]:
    """The fields that the relay's server did not honour."""
    names = response.header(b"x-h2o-dropped-params").split(",")
    return [name.strip() for name in names if name.strip()]


def _checked(payload: bytes) -> Chunk:
    """One event. Raises the error that it may be."""
    event: Any = orjson.loads(payload)
    if isinstance(event, dict) and event.get("error"):
        raise UpstreamRejected(502, error_object(payload))
    return Chunk(b"data: " + payload + b"\n\n", [event])


async def refusal(response: Response) -> RelayError:
    """The relay's own error for a status of 400 and above."""
    error = error_object(await response.read(ERROR_LIMIT))
    if not error.get("message"):
        error = {**error, "message": f"the relay answered {response.status}"}
    return UpstreamRejected(response.status, error)
