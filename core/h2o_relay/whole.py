"""Whole answers: one object, from the server or assembled from its stream."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import as_chat
from .answer import Answer
from .assemble import assemble
from .chunks import Completion
from .errors import RelayError
from .faults import checked_call, fault
from .max_time import FIELD as TIME
from .max_time import is_limited
from .preparing import prepare
from .route import Route
from .tries import Tries, Witness
from .trimming import FIELD
from .turn import dropped, entered, is_a, over, patience, refuse
from .types import Kind, Request
from .usage import with_usage

if TYPE_CHECKING:
    from .cutting import Cutting
    from .kernel import Kernel
    from .links import Link


async def ask(
    kernel: Kernel, kind: Kind, params: Mapping[str, Any], body: bytes | None,
    session: str | None = None, strict: bool = False, witness: Witness | None = None,
) -> Completion:  # fmt: skip
    """A whole answer, assembled from a stream where that is what can be cancelled."""
    tries = Tries(kernel, params, session)
    if witness is not None:
        witness.tries = tries
    if strict or kernel.settings.strict_params:
        tries.strict = True
    route = tries.at_once() or await tries.first()
    if params.get("stream"):  # what is asked for here is one object
        rest = {name: value for name, value in params.items() if name != "stream_options"}
        params, body = {**rest, "stream": False}, None
    try:
        while True:
            try:
                completion = await _asked(kernel, route, tries, kind, params, body)
            except RelayError as error:
                route = await tries.after(error, route)
            else:
                if tries.budgeted:
                    tries.settle()
                tries.begun_at = monotonic()
                completion.tries = tries
                return completion
    except BaseException:
        tries.settle()
        raise


async def _asked(
    kernel: Kernel, route: Route, tries: Tries, kind: Kind, params: Mapping[str, Any],
    body: bytes | None,
) -> Completion:  # fmt: skip
    """One try."""
    link, deployment, meter = route.link, route.deployment, route.meter
    timed = kernel.times or not route.plain or TIME in params
    if "generate" not in link.capabilities.cancels or (
        timed and is_limited(params, route, kernel.settings)
    ):
        return await _assembled(kernel, route, tries, kind, params)
    gate, cutting = None, None
    fault_of: BaseException | None = None
    tokens = 0
    link.lease()
    meter.running += 1
    try:
        client = link.client or await link.wait_open(patience(link, kernel.settings))
        if route.plain and FIELD not in params and not (kind == "text" and route.wraps):
            request = Request(kind=kind, params=params, body=body, deployment=deployment)
        else:
            gate = await entered(link, route, kernel.settings.max_queue)
            request, cutting = await prepare(route, client, kernel.templates, kind, params, body)
        unread = () if kind in route.takes_all else dropped(route, kind, request, cutting)
        if tries.strict:
            refuse(unread, request)
            request.strict = True
        completion = await _generated(link, tries, client, request)
        if request.kind != kind:
            completion = as_chat.completion(completion)
        if cutting is not None:
            completion = _cut(completion, cutting, link)
        usage = completion.data.get("usage")
        if not usage:
            completion = with_usage(completion, params)
            request.tell("usage", "estimated")
            usage = completion.data["usage"]
        completion.deployment, completion.notes = deployment, request.notes
        if request.unread:
            unread = (*unread, *request.unread)
        completion.dropped = unread
        said = usage.get("completion_tokens") if type(usage) is dict else 0
        tokens = said if type(said) is int else 0
        return completion
    except BaseException as error:
        fault_of = error
        raise
    finally:
        if gate is not None:
            gate.release()
        link.release()
        over(route, tokens, fault_of)


async def _generated(link: Link, tries: Tries, client: Any, request: Request) -> Completion:
    """The plugin's answer, and the time that it took noted. Raises RelayError."""
    sent = monotonic()
    try:
        completion = await link.plugin.generate(request.deployment.server, client, request)
        if type(completion) is not Completion:
            is_a(Completion, completion)
        return completion
    except RelayError:
        raise
    except Exception as error:
        raise fault(link.plugin, "generate", error) from error
    finally:
        tries.spent += monotonic() - sent


def _cut(completion: Completion, cutting: Cutting, link: Link) -> Completion:
    return checked_call(link.plugin, "fix_text", lambda _: cutting.whole(completion))


async def _assembled(
    kernel: Kernel, route: Route, tries: Tries, kind: Kind, params: Mapping[str, Any]
) -> Completion:
    streamed = {**params, "stream": True, "stream_options": {"include_usage": True}}
    answer = Answer(kernel, kind, streamed, None)
    answer.tries = tries
    await answer.begin(route)
    try:
        completion = await assemble(answer, kind)
    except BaseException as error:
        if isinstance(error, RelayError):
            error.begun = True
        await answer.__aexit__(type(error), error, None)
        raise
    await answer.__aexit__(None, None, None)
    completion.deployment = answer.deployment
    completion.dropped = tuple(name for name in answer.dropped if name in params)
    completion.notes = answer.notes
    if (completion.usage or {}).get("estimated"):
        completion.notes = {**(answer.notes or {}), "usage": "estimated"}
    return completion
