"""One answer, from lease to release: streamed with its first chunk awaited, or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from .assemble import assemble
from .chunks import Chunk, Completion
from .cutting import Cutting
from .errors import InvalidRequest, PluginError, RelayError
from .faults import checked_call, fault
from .guard import Guard, expected_choices
from .meter import Meter, counted, says
from .preparing import prepare
from .trimming import FIELD
from .types import ALL, Deployment, Kind, Request

if TYPE_CHECKING:
    from .kernel import Kernel
    from .links import Link
    from .registry import Route

OPENING = 60.0  # seconds that a request waits for its server to start
KIND_NAMES = {"chat": "chat", "text": "text completion"}
SEEN_TO = frozenset(
    {"stop", "messages", "prompt_type", "prompt_dict", "continue_final_message", FIELD}
)
"""Fields that the kernel sees to where it renders or cuts."""


class Answer:
    """A streamed answer: enter it, iterate over it.

    Every chunk holds whole, checked events. An event at fault ends it with an error, after the
    events that came before it in the same chunk.
    """

    __slots__ = (
        "_asked",
        "_asked_at",
        "_error",
        "_first",
        "_gate",
        "_generator",
        "_guard",
        "_kernel",
        "_last",
        "_leased",
        "_pieces",
        "deployment",
        "dropped",
        "notes",
    )

    def __init__(
        self, kernel: Kernel, kind: Kind, params: Mapping[str, Any], body: bytes | None
    ) -> None:
        self._kernel = kernel
        self._asked = (kind, params, body)
        self._leased: Route | None = None
        self._generator: AsyncGenerator[Chunk, None] | None = None
        self._guard: Guard | None = None
        self._first: Chunk | None = None
        self._error: RelayError | None = None
        self._gate: asyncio.Semaphore | None = None
        self._pieces = 0
        self._asked_at = 0.0  # until the first token is there
        self._last: Chunk | None = None
        self.deployment: Deployment | None = None
        self.dropped: tuple[str, ...] = ()
        self.notes: Mapping[str, str] | None = None
        """What the caller is told beside the answer: `trimmed` messages, a `limited` field."""

    async def __aenter__(self) -> Answer:
        kind, params, body = self._asked
        if not params.get("stream"):  # what is asked for here is a stream
            params, body = {**params, "stream": True}, None
        snapshot, name = self._kernel.snapshot, params.get("model")
        route = await self._kernel.route(name) if snapshot.pending else snapshot.find(name)
        link, meter, started = route.link, route.meter, monotonic()
        link.lease()
        meter.running += 1
        self._leased = route
        try:
            client = link.client or await link.wait_open(OPENING)
            self.deployment = deployment = route.deployment
            cutting = None
            if route.plain and FIELD not in params:
                request = Request(kind=kind, params=params, body=body, deployment=deployment)
            else:
                self._gate = await entered(link, route)
                templates = self._kernel.templates
                request, cutting = await prepare(route, client, templates, kind, params, body)
            unread = dropped(route, request, cutting)
            can = link.capabilities
            told = request.params if "n" in can.fields else {**request.params, "n": 1}
            self._guard = Guard(kind, told, deployment.server.key, can.finishes)
            generator = link.plugin.stream(deployment.server, client, request)
            self._generator = cast("AsyncGenerator[Chunk, None]", generator)
            if cutting is not None:
                usage = _asks_usage(params)
                count = expected_choices(kind, told)
                self._generator = cutting.stream(self._generator, count, usage)
            self._asked_at = started
            self._first = await self._next()
            self.dropped = (*unread, *request.unread) if request.unread else unread
            self.notes = request.notes
        except BaseException as error:
            await self._close(error)
            if isinstance(error, StopAsyncIteration):
                raise PluginError(f"plugin {link.plugin.name!r} gave an empty answer") from None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error)

    def __aiter__(self) -> Answer:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Chunk]:
        return self._next() if self._first is None else self._given()

    async def _given(self) -> Chunk:
        first, self._first = self._first, None
        assert first is not None
        return first

    async def _next(self) -> Chunk:
        if self._error is not None:
            raise self._error
        guard, generator = self._guard, self._generator
        assert guard is not None
        assert generator is not None
        try:
            chunk = await generator.__anext__()
            if type(chunk) is not Chunk:
                _is_a(Chunk, chunk)
        except StopAsyncIteration:
            cut = guard.end()
            if cut is not None:
                raise cut from None
            raise
        except RelayError:
            raise
        except Exception as error:
            raise self._fault(error) from error
        wrong = None if chunk.checked else guard.check(chunk)
        if wrong is None:
            self._pieces += 1
            self._last = chunk
            if self._asked_at and says(chunk.raw):
                self._told_first()
            return chunk
        good = guard.good_part(chunk)
        if good is None:
            raise wrong
        self._error = wrong
        return good

    def _told_first(self) -> None:
        """The first token is here."""
        assert self._leased is not None
        self._leased.meter.first(self._asked_at, monotonic())
        self._asked_at = 0.0

    def _fault(self, error: Exception) -> PluginError:
        assert self._leased is not None
        return fault(self._leased.link.plugin, "stream", error)

    async def _close(self, error: BaseException | None) -> None:
        leased, last = self._leased, self._last
        generator, self._generator = self._generator, None
        try:
            if generator is not None:
                await generator.aclose()
        except Exception as late:
            self._fault(late)  # the answer is over; the log has what went wrong after it
        finally:
            self._leased = None
            gate, self._gate = self._gate, None
            if gate is not None:
                gate.release()
            if leased is not None:
                leased.link.release()
                tokens = counted(last.raw) if last is not None else 0
                over(leased.meter, self._pieces if tokens is None else tokens, error)


async def ask(
    kernel: Kernel, kind: Kind, params: Mapping[str, Any], body: bytes | None
) -> Completion:
    """A whole answer, assembled from a stream where that is what can be cancelled."""
    snapshot, name = kernel.snapshot, params.get("model")
    route = await kernel.route(name) if snapshot.pending else snapshot.find(name)
    link = route.link
    if "generate" not in link.capabilities.cancels:
        return await _assembled(kernel, kind, params)
    if params.get("stream"):  # what is asked for here is one object
        rest = {name: value for name, value in params.items() if name != "stream_options"}
        params, body = {**rest, "stream": False}, None
    deployment, gate, cutting = route.deployment, None, None
    fault_of: BaseException | None = None
    tokens, meter = 0, route.meter
    link.lease()
    meter.running += 1
    try:
        client = link.client or await link.wait_open(OPENING)
        if route.plain and FIELD not in params:
            request = Request(kind=kind, params=params, body=body, deployment=deployment)
        else:
            gate = await entered(link, route)
            request, cutting = await prepare(route, client, kernel.templates, kind, params, body)
        unread = dropped(route, request, cutting)
        try:
            completion = await link.plugin.generate(deployment.server, client, request)
            if type(completion) is not Completion:
                _is_a(Completion, completion)
        except RelayError:
            raise
        except Exception as error:
            raise fault(link.plugin, "generate", error) from error
        if cutting is not None:
            whole = cutting.whole
            completion = checked_call(link.plugin, "fix_text", lambda _: whole(completion))
        completion.deployment, completion.notes = deployment, request.notes
        completion.dropped = (*unread, *request.unread) if request.unread else unread
        tokens = counted(completion.body) or 0
        return completion
    except BaseException as error:
        fault_of = error
        raise
    finally:
        if gate is not None:
            gate.release()
        link.release()
        over(meter, tokens, fault_of)


async def _assembled(kernel: Kernel, kind: Kind, params: Mapping[str, Any]) -> Completion:
    streamed = {**params, "stream": True, "stream_options": {"include_usage": True}}
    async with Answer(kernel, kind, streamed, None) as answer:
        completion = await assemble(answer, kind)
        completion.deployment = answer.deployment
        completion.dropped = tuple(name for name in answer.dropped if name in params)
        completion.notes = answer.notes
        return completion


def _is_a(kind: type, value: object) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"it gave a {type(value).__name__}, not a {kind.__name__}")


async def entered(link: Link, route: Route) -> asyncio.Semaphore | None:
    """Wait for a turn where the operator limits how many requests run at the same time."""
    gate, meter = link.gate(route.deployment.tuning.concurrency), route.meter
    if gate is not None:
        meter.running -= 1
        meter.waiting += 1
        try:
            await gate.acquire()
        finally:
            meter.waiting -= 1
            meter.running += 1
    return gate


def over(meter: Meter, tokens: int, error: BaseException | None) -> None:
    """Count an answer that is over. A caller's own mistakes are no failures of the server."""
    meter.running -= 1
    failed = isinstance(error, RelayError) and error.status >= 500
    meter.ended(tokens, failed or isinstance(error, StopAsyncIteration), monotonic())


def _asks_usage(params: Mapping[str, Any]) -> bool:
    options = params.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def dropped(route: Route, request: Request, cutting: Cutting | None) -> tuple[str, ...]:
    """The fields that the server will not honour, and that the kernel does not see to instead.

    Raises InvalidRequest if the server lacks the API.
    """
    can, kinds, kind = route.link.capabilities, route.deployment.kinds, request.kind
    if kinds is None:
        kinds = can.kinds
    if kind not in kinds and request.prompt is None:
        offered = " and ".join(KIND_NAMES[k] for k in sorted(kinds)) or "embeddings alone"
        raise InvalidRequest(
            f"this model's server offers {offered}, not {KIND_NAMES[kind]}", param="model"
        )
    if can.fields is ALL:
        return ()
    seen_to = SEEN_TO if cutting is not None else ()
    return tuple(n for n in request.params if n not in can.fields and n not in seen_to)
