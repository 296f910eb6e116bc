"""One answer, from lease to release: streamed with its first chunk awaited, or whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from . import as_chat, max_time
from .chunks import Chunk
from .errors import PluginError, RelayError
from .faults import fault
from .frames import Passage, Sink
from .guard import Guard, expected_choices
from .meter import counted, says
from .preparing import prepare
from .resuming import Said, resumable, resuming
from .route import Route
from .tenancy import Tenancy
from .tries import Tries, Witness
from .trimming import FIELD
from .turn import dropped, entered, is_a, patience, refuse
from .types import Deployment, Kind, Request
from .usage import UsageWatch, asking, asks_usage

if TYPE_CHECKING:
    from .cutting import Cutting
    from .kernel import Kernel


class Answer(Tenancy):
    """A streamed answer: enter it, iterate over it.

    Every chunk holds whole, checked events. An event at fault ends it with an error, after the
    events that came before it in the same chunk.
    """

    __slots__ = (
        "_asked_at",
        "_ended_by",
        "_error",
        "_first",
        "_generator",
        "_guard",
        "_passage",
        "_request",
        "_usage",
        "_write",
        "deployment",
        "dropped",
        "last",
        "notes",
        "pieces",
    )

    def __init__(
        self, kernel: Kernel, kind: Kind, params: Mapping[str, Any], body: bytes | None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._asked = (kind, params, body)
        self._leased = self._gate = None
        self._generator: AsyncGenerator[Chunk, None] | None = None
        self._guard: Guard | None = None
        self._first: Chunk | None = None
        self._error: RelayError | None = None
        self.pieces = 0
        """Given so far."""
        self._asked_at = 0.0  # until the first token is there
        self._ended_by: BaseException | None = None
        self._said_before = 0
        self.last: bytes | None = None
        """Of what was given."""
        self._usage: UsageWatch | None = None
        self._request: Request | None = None  # nothing is done to its stream on the way
        self._write: Callable[[bytes], bool] | None = None
        self._passage: Passage | None = None
        self.deployment: Deployment | None = None
        self.dropped: tuple[str, ...] = ()
        self.notes: Mapping[str, str] | None = None
        """What the caller is told beside the answer: `trimmed` messages, a `limited` field."""
        self.tries = Tries(kernel, params, session)
        if strict or kernel.settings.strict_params:
            self.tries.strict = True
        """Who was asked, why, and how often."""
        if witness is not None:
            witness.tries = self.tries

    async def __aenter__(self) -> Answer:
        tries = self.tries
        route = tries.at_once() or await tries.first()
        try:
            while True:
                try:
                    await self.begin(route)
                except RelayError as error:
                    route = await tries.after(error, route)
                else:
                    if tries.budgeted:
                        tries.settle()
                    tries.begun_at = monotonic()
                    return self
        except BaseException:
            tries.settle()
            raise

    async def begin(self, route: Route) -> None:
        """One try: the stream up to its first chunk."""
        kind, params, body = self._asked
        if not params.get("stream"):  # what is asked for here is a stream
            params, body = {**params, "stream": True}, None
        link, meter, started = route.link, route.meter, monotonic()
        link.lease()
        meter.running += 1
        self._leased, self._ended_by = route, None
        try:
            client = link.client or await link.wait_open(patience(link, self._kernel.settings))
            self.deployment = deployment = route.deployment
            cutting = None
            if route.plain and FIELD not in params and not (kind == "text" and route.wraps):
                request = Request(kind=kind, params=params, body=body, deployment=deployment)
            else:
                self._gate = await entered(link, route, self._kernel.settings.max_queue)
                templates = self._kernel.templates
                request, cutting = await prepare(route, client, templates, kind, params, body)
            seconds = max_time.taken_out(request, route, self._kernel.settings)
            unread = () if kind in route.takes_all else dropped(route, kind, request, cutting)
            if self.tries.strict:
                refuse(unread, request)
                request.strict = True
            asks = "stream_options" in params and asks_usage(params)
            hide = self._kernel.counts and not asks
            can_say = "stream_options" in link.capabilities.fields
            if hide and can_say and "stream_options" not in params:
                request.params, request.body = asking(request.params, request.body)
            self._usage = UsageWatch(kind, params, hide) if asks or hide else None
            self._open(route, client, request, cutting, asks or hide)
            if seconds is not None:
                assert self._generator is not None
                assert self._guard is not None
                self._generator = max_time.ended(self._generator, seconds, self._guard)
                self._request = None
            self._asked_at = started
            sent = monotonic()
            try:
                self._first = await self._next()
            finally:
                self.tries.spent += monotonic() - sent
            if route.entry.health.troubled:
                route.entry.health.began()
            if request.unread:
                unread = (*unread, *request.unread)
            self.dropped = unread
            self.notes = request.notes
        except StopAsyncIteration:
            empty = PluginError(f"plugin {link.plugin.name!r} gave an empty answer")
            await self._close(empty)
            raise empty from None
        except BaseException as error:
            await self._close(error)
            raise

    def _open(
        self, route: Route, client: Any, request: Request, cutting: Cutting | None, asks: bool
    ) -> None:
        """The plugin's stream, and what is done to it on its way; `asks` for its usage."""
        kind, link = self._asked[0], route.link
        can, server = link.capabilities, route.deployment.server
        told = request.params if "n" in can.fields else {**request.params, "n": 1}
        self._guard = Guard(kind, told, server.key, can.finishes)
        said = None
        if self.tries.resumes and resumable(kind, request.params, request, can):
            said = Said(kind)
            said.begin(request, can)
        generator = cast("AsyncGenerator[Chunk, None]", link.plugin.stream(server, client, request))
        if said is not None:
            generator = resuming(generator, said, partial(self._go_on, said))
        if request.kind != kind:
            generator = as_chat.stream(generator)
        if cutting is not None:
            generator = cutting.stream(generator, expected_choices(kind, told), asks)
        if said is None and cutting is None and request.kind == kind:
            self._request = request
        self._generator = generator

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """What the answer has used so far, in OpenAI's terms: estimated (`estimated`) until its
        server has said it; None where nobody counts.
        """
        return None if self._usage is None else self._usage.usage(self.pieces)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error or self._ended_by)

    def onto(
        self,
        write: Callable[[bytes], bool],
        sink: Sink | None = None,
        rename: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """From now on hand what needs no look to `write` as it arrives, instead of giving it as a
        chunk, where the server's connection can. `write` says whether it has taken it; what it does
        not take is a chunk like any other. Chunks of HTTP may go to `sink` as they are, but for
        `rename`, which `write` does to an event itself.
        """
        if self._request is not None:
            self._write, self._request.direct = write, self._direct
            if sink is not None:
                self._passage = Passage(sink, self, rename)
                if not self._asked_at:
                    self._request.passage = self._passage

    def _direct(self, data: bytes, events: int = 1) -> bool:
        if self._asked_at or self._write is None or not self._write(data):
            return False
        self.pieces += events
        self.last = data
        return True

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
                is_a(Chunk, chunk)
        except StopAsyncIteration:
            cut = guard.end()
            if cut is not None:
                self._ended_by = cut
                raise cut from None
            last = None if self._usage is None else self._usage.missing(self.pieces)
            if last is None:
                raise
            return last
        except RelayError as error:
            self._ended_by = error
            raise
        except Exception as error:
            self._ended_by = self._fault(error)
            raise self._ended_by from error
        wrong = None if chunk.checked else guard.check(chunk)
        if wrong is None:
            self.pieces += 1
            self.last = chunk.raw
            if self._usage is not None and not chunk.checked:
                shown = self._usage.shown(chunk)
                if shown is None:
                    return await self._next()
                chunk = shown
            if self._asked_at and says(chunk.raw):
                self._told_first()
            return chunk
        self._ended_by = wrong
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
        if self._request is not None:
            self._request.passage = self._passage

    def _fault(self, error: Exception) -> PluginError:
        assert self._leased is not None
        return fault(self._leased.link.plugin, "stream", error)

    async def _close(self, error: BaseException | None) -> None:
        last, generator, self._generator = self.last, self._generator, None
        if self._request is not None:
            # They hold each other.
            self._request.direct = self._request.passage = None
            self._request = self._write = self._passage = None
        try:
            if generator is not None:
                await generator.aclose()
        except Exception as late:
            self._fault(late)  # the answer is over; the log has what went wrong after it
        finally:
            tokens = counted(last) if last is not None else 0
            self._release(error, self.pieces if tokens is None else tokens)
