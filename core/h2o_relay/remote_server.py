"""A relay's own API as the one server of a `RemoteKernel`'s kernel.

Unlike a server of somebody else, it is believed: its errors are passed on as it worded them.
The shapes are those of OpenAI's API reference, the errors those of `h2o_relay.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from . import behalf
from .accounting.caller import Allowance, Caller
from .admin import DeploymentView
from .errors import InvalidRequest, RelayError, UpstreamRejected, error_object
from .hookspecs import hookimpl
from .http import HttpClient, Response
from .notes import MEMBER
from .openai_shape import pass_note
from .sse import Splitter
from .types import Call, Capabilities, Chunk, Model, Request, Server, Target

LIST_LIMIT = 8 * 2**20  # bytes
ERROR_LIMIT = 64 * 1024  # bytes


@hookimpl
def parse_server_string(text: str) -> Server | None:
    """`RemoteKernel` makes its server; nobody writes it down."""
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
    """Every model that can be asked for, also those that are not listed."""
    key = {"authorization": f"Bearer {server.key}"} if server.key else {}
    url = f"{(server.url or '').removesuffix('/v1')}/admin/deployments"
    seconds = client.settings.request_timeout
    async with client.request(
        "GET", url, headers=key, first_byte=seconds, total=seconds
    ) as response:
        if response.status >= 400:
            raise await refusal(response)
        views = orjson.loads(await response.read(LIST_LIMIT))["data"]
    return [model_of(view) for view in views if view["name"]]


def view_of(data: Mapping[str, Any]) -> DeploymentView:
    """A view as /admin sends it; what a newer relay says beyond it is left out."""
    names = DeploymentView.__dataclass_fields__
    return DeploymentView(**{k: tupled(v) for k, v in data.items() if k in names})


def tupled(value: Any) -> Any:
    """What JSON makes a list of."""
    return tuple(value) if isinstance(value, list) else value


def model_of(view: dict[str, Any]) -> Model:
    """A deployment as a model of the relay's: it turns chats into texts and back itself."""
    known = view["stage"] == "ready"
    kinds: frozenset[Any] | None = frozenset() if known and not view["kinds"] else None
    return Model(id=view["name"], max_context=view["max_context"], kinds=kinds)


@hookimpl
async def stream(server: Server, client: HttpClient, request: Request) -> AsyncIterator[Chunk]:
    body = encoded({**request.params, "model": request.deployment.model})
    headers = {"content-type": "application/json", **behalf.headers()}
    to = target(server, Call(method="POST", path="/chat/completions", headers=headers, body=body))
    splitter = Splitter(client.settings.max_event)
    exchange = client.request(to.method, to.url, headers=to.headers, body=body)
    async with exchange as response:
        if response.status >= 400:
            raise await refusal(response)
        pass_note(request, response)
        request.drop(*dropped(response))
        answered = unquote(response.header(b"x-h2o-server"))
        if answered and answered != request.params.get("model"):
            request.tell(MEMBER, answered)
        async for data in response:
            events = splitter.feed(data)
            exchange.whole = splitter.done
            for payload in Chunk(events).payloads():
                yield _checked(payload)
            if splitter.done:
                return


def encoded(params: Mapping[str, Any]) -> bytes:
    """Raises InvalidRequest for what JSON cannot say: half a character, or a number too large."""
    try:
        return orjson.dumps(params)
    except TypeError as error:
        raise InvalidRequest(f"the request cannot be sent: {error}") from None


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


def caller_of(data: Mapping[str, Any]) -> Caller | None:
    """What `/admin/caller` says, of which only the id and the models are told."""
    allowance = Allowance(models=tuple(data["models"]))
    return Caller(id=str(data["id"]), allowance=allowance) if data["admitted"] else None
