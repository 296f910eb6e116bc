"""The model's name in answers: as it was asked for, wherever an answer is cut into pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from h2o_relay_proxy.naming import _renaming, renamed

BODY = (
    b'event: a\ndata: {"id":1,"response":{"model": "up/m","x":"\\"model\\":\\"up/m\\""}}\n\n'
    b'data: {"model":"up/m","text":"it is \\"model\\": \\"up/m\\""}\n\n{"model":"up/mm"}'
)
NAMED = BODY.replace(b'"model": "up/m",', b'"model": "mine",').replace(
    b'"model":"up/m",', b'"model":"mine",'
)


async def cut(size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(BODY), size):
        yield BODY[start : start + size]


@pytest.mark.parametrize("size", [*range(1, 40), len(BODY)])
async def test_wherever_it_is_cut(size: int) -> None:
    pieces = [piece async for piece in renamed(cut(size), _renaming("up/m", "mine"), "up/m")]
    assert b"".join(pieces) == NAMED
    assert NAMED.count(b"mine") == 2  # not what a string says of it


async def test_a_whole_event_is_not_held_back() -> None:
    event = b'data: {"model":"up/m"}\n\n'

    async def one() -> AsyncIterator[bytes]:
        yield event
        yield b"never"

    first = await anext(renamed(one(), _renaming("up/m", "mine"), "up/m"))
    assert first == event.replace(b"up/m", b"mine")
