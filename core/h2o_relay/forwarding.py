"""Calls to OpenAI's other paths: from a model's name to an upstream's answer, bytes both ways."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import orjson

from .errors import RelayError, UnknownURL, error_object, from_response, redact
from .faults import checked_call, fault
from .form_data import find_field, is_form, with_field
from .openai_shape import beginning, seconds_to_wait
from .plugins import Plugin
from .pooling import Pool
from .route import Route
from .splice import with_model
from .strict import unsupported
from .tries import Tries, Witness
from .turn import entered, over, patience
from .types import UNTUNED, Call, Deployment, Reply

if TYPE_CHECKING:
    from .entry import Entry
    from .kernel import Kernel
    from .links import Link

NAMED = frozenset({"/embeddings", "/audio/speech"})
"""JSON paths for which OpenAI's API reference requires `model`: it is written in where it is
missing. Elsewhere it may be unknown to the server."""

SECRET = 8  # characters of a key that stands nowhere by chance
NO_PATH = (
    "Not Found", "Method Not Allowed", "File Not Found", "Resource not found", "Invalid URL (",
)  # fmt: skip
"""How errors of 404 and 405 begin that are about the path, not about a model."""


@dataclass(slots=True, kw_only=True)
class Forwarded(Reply):
    """A server's answer of status 200 to 299, and who gave it; header names are lower-case."""

    deployment: Deployment
    tries: Tries
    """Who was asked, why, and how often."""


def offers(link: Link, call: Call) -> bool:
    """Whether a server has what is called, as far as its plugin can tell."""
    if call.path in link.capabilities.paths:
        return True
    target = checked_call(link.plugin, "target", lambda p: p.target(link.server, call))
    return target is not None


def offered(entries: Iterable[Entry], call: Call) -> bool:
    """Whether some server has what is called, or may turn out to have it."""
    for entry in entries:
        try:
            if entry.link is None or offers(entry.link, call):
                return True
        except RelayError:
            return True  # whoever calls its model is told
    return False


def spoken(choice: Route | Pool, call: Call) -> bool:
    """`Kernel.speaks`: of a pool, all of its members must."""
    routes = choice.members if type(choice) is Pool else (cast("Route", choice),)
    return bool(routes) and all(_takes(route, call) for route in routes)


def _takes(route: Route, call: Call) -> bool:
    link = route.reached_by
    if link is None or route.renders or route.deployment.tuning != UNTUNED:
        return False
    return offers(link, call) and (link.capabilities.keeps_responses or not _keeps(call))


def _keeps(call: Call) -> bool:
    """Whether a call asks for something to be kept, as /responses does unless it says otherwise."""
    return call.path == "/responses" and (call.params or {}).get("store") is not False


@contextlib.asynccontextmanager
async def forward(
    kernel: Kernel, model: str | int | None, call: Call, session: str | None = None,
    strict: bool = False, witness: Witness | None = None,
) -> AsyncIterator[Forwarded]:  # fmt: skip
    """`Kernel.forward`."""
    name = await _first(kernel, call) if model is None else model
    tries = Tries(kernel, {**(call.params or {}), "model": name}, session)
    tries.strict = strict or kernel.settings.strict_params
    if witness is not None:
        witness.tries = tries
    if tries.strict:
        call = replace(call, strict=True)
    route, begun = await tries.first(), False
    try:
        while True:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    reply = await _opened(kernel, route, tries, call, stack)
                    tries.settle()
                    tries.begun_at = monotonic()
                    begun = True
                    yield reply
                    return
            except RelayError as error:
                if begun or not isinstance(call.body, bytes):
                    raise
                route = await tries.after(error, route)
    except BaseException:
        tries.settle()
        raise


async def _opened(
    kernel: Kernel, route: Route, tries: Tries, call: Call, stack: contextlib.AsyncExitStack
) -> Forwarded:
    """One try: the answer's head, its body to be read while `stack` is open."""
    link, deployment, plugin = route.link, route.deployment, route.link.plugin
    link.lease()
    route.meter.running += 1
    stack.callback(link.release)
    stack.push(partial(_counted, route))
    client = link.client or await link.wait_open(patience(link, kernel.settings))
    if not offers(link, call):
        raise _not_offered(deployment, call)
    gate = await entered(link, route, kernel.settings.max_queue)
    if gate is not None:
        stack.callback(gate.release)
    asked = monotonic()
    try:
        sent = addressed(call, deployment.model)
        forwarding = plugin.forward(deployment.server, client, sent)
        reply = await forwarding.__aenter__()
    except RelayError:
        raise
    except Exception as error:
        raise fault(plugin, "forward", error) from error
    finally:
        tries.spent += monotonic() - asked
    stack.push_async_exit(forwarding)
    headers = {key.lower(): value for key, value in reply.headers.items()}
    checked = _checked(plugin, reply.chunks, deployment.server.key)
    chunks = await stack.enter_async_context(contextlib.aclosing(checked))
    if reply.status >= 300:
        body = await beginning(chunks)
        raise refusal(reply.status, body, headers.get("retry-after"), deployment, call)
    route.entry.health.began()
    if call.strict and reply.dropped:
        raise unsupported(reply.dropped[0])
    return Forwarded(
        status=reply.status, headers=headers, chunks=chunks, dropped=reply.dropped,
        deployment=deployment, tries=tries,
    )  # fmt: skip


def _counted(
    route: Route, _: type[BaseException] | None, error: BaseException | None, __: object
) -> None:
    over(route, 0, error)


async def _first(kernel: Kernel, call: Call) -> str | None:
    """The first listed model whose server offers what is called, rather one that is up."""
    await kernel.route(None)
    able = [
        route
        for route in kernel.snapshot.routes.values()
        if route.deployment.visible and route.reached_by is not None
        and not route.mismatch and offers(route.reached_by, call)
    ]  # fmt: skip
    best = next((route for route in able if route.entry.up), able[0] if able else None)
    return None if best is None else best.deployment.name


def addressed(call: Call, model: str) -> Call:
    """The call with the server's own name for the model, if it names one or must; all other bytes
    stay as they are.
    """
    if call.params is not None:
        named = call.params.get("model")
        if named == model or (named is None and call.path not in NAMED):
            return call
        params = {**call.params, "model": model}
        same = isinstance(call.body, bytes)
        body = with_model(call.body, call.params, model) if same else orjson.dumps(params)  # type: ignore[arg-type]
        return replace(call, body=body, params=params)
    kind = call.headers.get("content-type", "")
    if is_form(kind) and isinstance(call.body, bytes):
        field = find_field(call.body, kind, "model")
        if field is not None and field.value != model:
            return replace(call, body=with_field(call.body, field, model))
    return call


async def _checked(
    plugin: Plugin, chunks: AsyncIterator[bytes], key: str | None
) -> AsyncGenerator[bytes, None]:
    """The pieces of an answer; what is no RelayError becomes a PluginError. Of all that a server
    may say our own key alone is cut out: some repeat the request in an error within a stream.
    """
    secret = (key or "").encode() if len(key or "") >= SECRET else None
    try:
        async for piece in chunks:
            yield piece.replace(secret, b"***") if secret and secret in piece else piece
    except RelayError:
        raise
    except Exception as error:
        raise fault(plugin, "forward", error) from error
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def refusal(
    status: int, body: bytes, wait: str | None, deployment: Deployment, call: Call
) -> RelayError:
    """The error for a status of 300 and above. A server that has no such path says so with 501
    (llama.cpp: what it was not started for), or with a 404 or 405: see `_names_path`.
    """
    secret = deployment.server.key
    error = redact(error_object(body), secret)
    if status == 501 or (status in (404, 405) and _names_path(error)):
        reason = error.get("message") if status == 501 else None
        return _not_offered(deployment, call, reason if isinstance(reason, str) else "")
    return from_response(status, body, retry_after=seconds_to_wait(wait), secret=secret)


def _names_path(error: Mapping[str, Any]) -> bool:
    """Whether an error of status 404 or 405 is about the path. Without `type` and `code` it is not
    one of OpenAI's shape at all, but a web server's; the sentences are those of vLLM, llama.cpp,
    Azure and OpenAI, the code is Groq's and another relay's.
    """
    if not {"type", "code"} & error.keys() or error.get("code") == UnknownURL.code:
        return True
    message = error.get("message")
    return isinstance(message, str) and message.startswith(NO_PATH)


def _not_offered(deployment: Deployment, call: Call, reason: str = "") -> UnknownURL:
    said = f": {reason[:300]}" if reason else ""
    return UnknownURL(
        f"The server of the model `{deployment.name}` does not offer "
        f"{call.method} /v1{call.path}{said}.",
        param="model",
    )
