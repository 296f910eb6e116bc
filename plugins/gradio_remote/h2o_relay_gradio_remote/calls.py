"""Calling an endpoint of a Gradio app, by the protocol that the app speaks.

- Gradio 5 and 6: POST /gradio_api/call/NAME, then GET /gradio_api/call/NAME/EVENT_ID (Gradio's
  guide "Querying Gradio apps with curl").
- Gradio 4 (`sse_v1` to `sse_v3`), and Gradio 5 and 6 where a call belongs to a session:
  POST /queue/join, then GET /queue/data?session_hash=... (as gradio_client 2.7.2 does).
- Gradio 3 and the first Gradio 4 (`ws`, `sse`), and endpoints without a queue: POST /run/NAME,
  one JSON answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple
from uuid import uuid4

import orjson

from h2o_relay.errors import RelayError, UpstreamBadResponse, UpstreamDisconnected

from .app import Api
from .listen import Output, Patience, decoded, outputs, queued, simple
from .session import JSON, Session, refusal, session
from .sse import events

CANCEL_SECONDS = 2.0
CANCELS_SINCE = (4, 29, 1)
"""gradio_client's rule: later versions than 4.29.0 have /cancel, earlier ones only /reset."""
log = logging.getLogger(__name__)


class Ticket(NamedTuple):
    """A call that is in the app's queue."""

    api: Api
    event_id: str
    session_hash: str
    path: str
    """Where its events are."""
    simple: bool


async def call(
    opened: Session,
    api: Api,
    data: list[Any],
    *,
    session_hash: str = "",
    total: float | None = None,
) -> AsyncGenerator[Output]:
    """The outputs of an endpoint as they grow; without a `last` one the answer was cut.

    `total` bounds the whole answer in seconds. Leaving early cancels the call. Raises RelayError.
    """
    if not (opened.app.streams and api.queued):
        yield await _run(opened, api, data, session_hash, total)
        return
    ticket = await _join(opened, api, data, session_hash)
    ended = False
    try:
        async with aclosing(_listen(opened, ticket, total)) as found:
            async for output in found:
                ended = ended or output.last
                if output.error is not None:
                    raise output.error
                yield output
    except UpstreamDisconnected:
        ended = True  # Gradio stops what nobody listens to, if it is still there
        raise
    finally:
        if not ended:
            await _cancel(opened, ticket)


async def result(opened: Session, api: Api, data: list[Any]) -> list[Any]:
    """What a quick endpoint gives, within the request timeout. Raises RelayError."""
    seconds = opened.client.settings.request_timeout
    async with aclosing(call(opened, api, data, total=seconds)) as found:
        async for output in found:
            if output.last:
                return output.values
    raise UpstreamBadResponse(f"the Gradio server did not finish its answer to /{api.name}")


async def post(opened: Session, path: str, body: dict[str, Any], seconds: float) -> Any:
    """What a POST to a path of the app's API gives, once more if the login has run out.

    Raises RelayError.
    """
    server, client = opened.server, opened.client
    for attempt in (1, 2):
        exchange = client.request(
            "POST", opened.root + path, headers={**opened.headers, **JSON},
            body=orjson.dumps(body), first_byte=seconds, total=seconds,
        )  # fmt: skip
        async with exchange as response:
            if response.status < 300:
                return decoded(await response.read(client.settings.max_event))
            if response.status != 401 or server.password is None or attempt == 2:
                raise await refusal(response, server)
        opened.headers = (await session(server, client, stale=opened)).headers
    raise AssertionError("the second attempt returns or raises")


async def _run(
    opened: Session, api: Api, data: list[Any], session_hash: str, total: float | None
) -> Output:
    """A call past the queue: the whole answer at once."""
    body: dict[str, Any] = {"data": data, "fn_index": api.id}
    if session_hash:
        body["session_hash"] = session_hash
    limit = opened.client.settings.answer_timeout if total is None else total
    answer = await post(opened, api.run_path, body, limit)
    found = outputs(answer)
    if answer.get("is_generating"):
        raise UpstreamBadResponse(
            "the Gradio server gave the first piece of its answer only: it is too old to be asked"
            " for the rest, or the endpoint has no queue"
        )
    return Output(found, last=True)


async def _join(opened: Session, api: Api, data: list[Any], session_hash: str) -> Ticket:
    """Put a call into the queue. Raises RelayError."""
    seconds = opened.client.settings.request_timeout
    if opened.app.prefix and not session_hash:
        path = f"/call/{api.name}"
        event_id = _event_id(await post(opened, path, {"data": data}, seconds))
        return Ticket(api, event_id, event_id, f"{path}/{event_id}", simple=True)
    session_hash = session_hash or new_session_hash()
    body = {"data": data, "fn_index": api.id, "session_hash": session_hash}
    event_id = _event_id(await post(opened, "/queue/join", body, seconds))
    path = f"/queue/data?session_hash={session_hash}"
    return Ticket(api, event_id, session_hash, path, simple=False)


def _event_id(answer: Any) -> str:
    found = answer.get("event_id") if isinstance(answer, dict) else None
    if not isinstance(found, str) or not found.replace("-", "").isalnum():
        raise UpstreamBadResponse("the Gradio server did not say what it calls the request")
    return found


async def _listen(opened: Session, ticket: Ticket, total: float | None) -> AsyncGenerator[Output]:
    """The outputs of a call in the queue, up to the last. Raises RelayError."""
    server, client = opened.server, opened.client
    url = opened.root + ticket.path
    exchange = client.request("GET", url, headers=opened.headers, total=total)
    async with exchange as response:
        if response.status >= 300:
            raise await refusal(response, server)
        if not response.header(b"content-type").lower().startswith("text/event-stream"):
            raise UpstreamBadResponse("the Gradio server did not answer with an event stream")
        heard, patience = events(response, client.settings.max_event), Patience(client.settings)
        found = (
            simple(heard, server, patience)
            if ticket.simple
            else queued(heard, server, patience, ticket.event_id, opened.app.protocol)
        )
        async for output in found:
            exchange.whole = output.last
            yield output
            if output.last:
                return


async def _cancel(opened: Session, ticket: Ticket) -> None:
    """Tell the app that nobody waits for the call any more; the connection is closed already."""
    path = "/cancel" if opened.app.version >= CANCELS_SINCE else "/reset"
    body = {
        "event_id": ticket.event_id,
        "session_hash": ticket.session_hash,
        "fn_index": ticket.api.id,
    }
    try:
        await post(opened, path, body, CANCEL_SECONDS)
    except RelayError as error:
        log.info("%s: the cancel call failed: %s", opened.server.shown, error.message)


def new_session_hash() -> str:
    """A session of our own in the app."""
    return uuid4().hex
