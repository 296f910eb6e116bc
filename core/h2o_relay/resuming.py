"""One stream out of several servers': when one breaks off, the next goes on from its last word.

    said = Said(kind)
    said.begin(request, can)                  # before the first server is asked
    stream = resuming(plugin.stream(...), said, again)

    async def again(error):                   # asks another server, or raises
        params, changes = continued(kind, request.params, request, said, can)
        return plugin.stream(..., replace(request, params=params, **changes))

It lies below the kernel's checks and cuts, which see one stream. `docs/resume.md` says what is
exact and what is not.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from .chunks import Chunk
from .continuing import continued, resumable
from .errors import RelayError
from .said import Said

__all__ = ["Said", "continued", "resumable", "resuming"]

log = logging.getLogger(__name__)
Again = Callable[[RelayError], Awaitable[AsyncGenerator[Chunk, None]]]
"""Opens the rest at another server, or raises RelayError."""


async def resuming(
    first: AsyncGenerator[Chunk, None], said: Said, again: Again
) -> AsyncGenerator[Chunk, None]:
    """The answer that `first` begins, and servers that `again` opens go on with.

    Raises what a server broke off with where that cannot be continued or nothing was said yet, and
    what `again` raises. A server that breaks off after its finish reason has said all.
    """
    chunks = first
    while True:
        async with aclosing(chunks):
            broken: RelayError | None = None
            try:
                async for chunk in chunks:
                    good, broken = said.take(chunk)
                    if good is not None:
                        yield good
                    if said.stopped:
                        return
                    if broken is not None:
                        break
                else:
                    broken = said.end() if said.begun else None
            except RelayError as error:
                broken = error
        if broken is None:
            return
        if said.finished:
            log.info("a server broke off after the end of its answer: %s", broken)
            return
        if said.used_up:
            yield said.last()
            return
        if not said.continuable(broken):
            raise broken
        chunks = await again(broken)
        said.resumed += 1
