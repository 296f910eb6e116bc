"""One answer, from lease to release: streamed with its first chunk awaited, or whole."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .assemble import assemble
from .chunks import Chunk, Completion
from .errors import InvalidRequest, PluginError, RelayError
from .guard import Guard
from .plugins import Plugin
from .types import ALL, Capabilities, Deployment, Kind, Request

if TYPE_CHECKING:
    from .kernel import Kernel
    from .registry import Route

OPENING = 60.0  # seconds that a request waits for its server to start
KIND_NAMES = {"chat": "chat", "text": "text completion"}
T = TypeVar("T")
log = logging.getLogger(__name__)


class Answer:
    """A streamed answer: enter it, iterate over it.

    Every chunk holds whole, checked events. An event at fault ends it with an error, after the
    events that came before it in the same chunk.
    """

    __slots__ = (
        "_asked",
        "_error",
        "_first",
        "_generator",
        "_guard",
        "_kernel",
        "_leased",
        "deployment",
        "dropped",
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
        self.deployment: Deployment | None = None
        self.dropped: tuple[str, ...] = ()

    async def __aenter__(self) -> Answer:
        kind, params, body = self._asked
        if not params.get("stream"):  # what is asked for here is a stream
            params, body = {**params, "stream": True}, None
        snapshot, name = self._kernel.snapshot, params.get("model")
        route = await self._kernel.route(name) if snapshot.pending else snapshot.find(name)
        link = route.link
        link.lease()
        self._leased = route
        try:
            client = link.client or await link.wait_open(OPENING)
            self.deployment = route.deployment
            self.dropped = dropped(link.capabilities, kind, params)
            server = route.deployment.server
            self._guard = Guard(kind, params, server.key, link.capabilities.finishes)
            request = Request(kind=kind, params=params, body=body, deployment=route.deployment)
            generator = link.plugin.stream(server, client, request)
            self._generator = cast("AsyncGenerator[Chunk, None]", generator)
            self._first = await self._next()
        except BaseException as error:
            await self._close()
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
        await self._close()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Chunk:
        first = self._first
        if first is not None:
            self._first = None
            return first
        return await self._next()

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
            return chunk
        good = guard.good_part(chunk)
        if good is None:
            raise wrong
        self._error = wrong
        return good

    def _fault(self, error: Exception) -> PluginError:
        assert self._leased is not None
        return fault(self._leased.link.plugin, "stream", error)

    async def _close(self) -> None:
        leased = self._leased
        generator, self._generator = self._generator, None
        try:
            if generator is not None:
                await generator.aclose()
        except Exception as error:
            self._fault(error)  # the answer is over; the log has what went wrong after it
        finally:
            self._leased = None
            if leased is not None:
                leased.link.release()


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
    link.lease()
    try:
        client = link.client or await link.wait_open(OPENING)
        unread = dropped(link.capabilities, kind, params)
        server = route.deployment.server
        request = Request(kind=kind, params=params, body=body, deployment=route.deployment)
        try:
            completion = await link.plugin.generate(server, client, request)
            if type(completion) is not Completion:
                _is_a(Completion, completion)
        except RelayError:
            raise
        except Exception as error:
            raise fault(link.plugin, "generate", error) from error
        completion.deployment, completion.dropped = route.deployment, unread
        return completion
    finally:
        link.release()


async def _assembled(kernel: Kernel, kind: Kind, params: Mapping[str, Any]) -> Completion:
    streamed = {**params, "stream": True, "stream_options": {"include_usage": True}}
    async with Answer(kernel, kind, streamed, None) as answer:
        completion = await assemble(answer, kind)
        completion.deployment = answer.deployment
        completion.dropped = tuple(name for name in answer.dropped if name in params)
        return completion


def _is_a(kind: type, value: object) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"it gave a {type(value).__name__}, not a {kind.__name__}")


def dropped(can: Capabilities, kind: Kind, params: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that the server will not honour. Raises InvalidRequest if it lacks the API."""
    if kind not in can.kinds:
        offered = " and ".join(KIND_NAMES[k] for k in sorted(can.kinds))
        raise InvalidRequest(
            f"this model's server offers {offered}, not {KIND_NAMES[kind]}", param="model"
        )
    if can.fields is ALL:
        return ()
    return tuple(name for name in params if name not in can.fields)


def fault(plugin: Plugin, hook: str, error: Exception) -> PluginError:
    """What callers are told when a plugin raises what it should not; the log has the rest."""
    log.error("plugin %s: hook %s failed", plugin.name, hook, exc_info=error)
    return PluginError(f"plugin {plugin.name!r} failed")


def checked_call(plugin: Plugin, hook: str, call: Callable[[Plugin], T]) -> T:
    """Call a plain hook; what it raises becomes a PluginError unless it is ours already."""
    try:
        return call(plugin)
    except RelayError:
        raise
    except Exception as error:
        raise fault(plugin, hook, error) from error
