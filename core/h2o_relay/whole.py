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
                completion.tries = tries
                return completion
    except BaseException:
        tries.settle()
        raise


async def _asked(
    kernel: Kernel, route: Route, tries: Tries, kind: Kind, params: Mapping[str, Any],
    body: bytes | None,
) -> Completion:  # fmt: skip
    """One try. That all of it is one function, but for what is seldom needed, is for the sake of
    speed: a coroutine more is some hundred instructions each time that it is woken.
    """
    link = route.reached_by or route.link
    as_is = kind in route.as_is and not (kernel.times or TIME in params or FIELD in params)
    if not as_is and _is_assembled(kernel, route, params):
        return await _assembled(kernel, route, tries, kind, params)
    gate, cutting, tokens = None, None, 0
    fault_of: BaseException | None = None
    ended: float | None = None
    link.leases += 1
    route.meter.running += 1
    try:
        client = link.client or await link.wait_open(patience(link, kernel.settings))
        if as_is or (route.plain and FIELD not in params and not (kind == "text" and route.wraps)):
            request = Request(kind, params, body, route.deployment)
        else:
            gate = await entered(link, route, kernel.settings.max_queue)
            request, cutting = await prepare(route, client, kernel.templates, kind, params, body)
        unread = () if kind in route.takes_all else dropped(route, kind, request, cutting)
        if tries.strict:
            refuse(unread, request)
            request.strict = True
        sent = monotonic()
        try:
            given = await link.plugin.generate(request.deployment.server, client, request)
            if type(given) is not Completion:
                is_a(Completion, given)
        except RelayError:
            raise
        except Exception as error:
            raise fault(link.plugin, "generate", error) from error
        finally:
            ended = monotonic()
            tries.spent += ended - sent
        completion, tokens = _told(link, kind, params, request, given, unread, cutting)
        tries.begun_at = ended
        return completion
    except BaseException as error:
        fault_of = error
        raise
    finally:
        if gate is not None:
            gate.release()
        link.release()
        over(route, tokens, fault_of, ended)


def _is_assembled(kernel: Kernel, route: Route, params: Mapping[str, Any]) -> bool:
    """Whether the answer is made of a stream: that is what can be ended early."""
    timed = kernel.times or not route.plain or TIME in params
    return "generate" not in route.link.capabilities.cancels or (
        timed and is_limited(params, route, kernel.settings)
    )


def _told(
    link: Link, kind: Kind, params: Mapping[str, Any], request: Request, completion: Completion,
    unread: tuple[str, ...], cutting: Cutting | None,
) -> tuple[Completion, int]:  # fmt: skip
    """The plugin's answer with all that is told of it, and its tokens. Raises RelayError."""
    if request.kind != kind:
        completion = as_chat.completion(completion)
    if cutting is not None:
        completion = _cut(completion, cutting, link)
    usage = completion.data.get("usage")
    if not usage:
        completion = with_usage(completion, params)
        request.tell("usage", "estimated")
        usage = completion.data["usage"]
    completion.deployment, completion.notes = request.deployment, request.notes
    completion.dropped = (*unread, *request.unread) if request.unread else unread
    said = usage.get("completion_tokens") if type(usage) is dict else 0
    return completion, said if type(said) is int else 0


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
    tries.begun_at = monotonic()
    completion.deployment = answer.deployment
    completion.dropped = tuple(name for name in answer.dropped if name in params)
    completion.notes = answer.notes
    if (completion.usage or {}).get("estimated"):
        completion.notes = {**(answer.notes or {}), "usage": "estimated"}
    return completion
