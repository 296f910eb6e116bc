"""Who may see how the relay is set up."""

from __future__ import annotations

import asyncio

import pytest

from h2o_relay.testing.settings import quick
from h2o_relay_ui.password_gate import LONGEST, WAITING, PasswordGate, access, gate

from .fakes import FakeRelay, context

OPEN = quick(host="127.0.0.1")
CLOSED = quick(host="0.0.0.0")
LOCKED = quick(host="0.0.0.0", admin_pass="pass-wört")


class Pauses:
    """Waits for nobody, and remembers how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(OPEN, "open"), (quick(host="localhost"), "open"), (CLOSED, "closed"), (LOCKED, "password"),
     (quick(host="127.0.0.1", admin_pass="x"), "password"), (quick(host="::1"), "open"),
     (quick(host="192.168.1.5"), "closed"), (quick(host="0.0.0.0", admin_pass=""), "closed")],
)  # fmt: skip
def test_who_needs_a_password(settings: object, expected: str) -> None:
    assert access(settings) == expected  # type: ignore[arg-type]


async def test_the_password_opens_and_nothing_else_does() -> None:
    one = PasswordGate(Pauses())
    assert await one.admits(LOCKED, "pass-wört")
    for wrong in ("", "pass-wort", "pass-wört ", "PASS-WÖRT", "\ud800"):
        assert not await one.admits(LOCKED, wrong)
    assert await one.admits(OPEN, "")
    assert not await one.admits(CLOSED, "pass-wört")
    assert not await one.admits(CLOSED, "")


async def test_guessing_gets_slower_until_the_right_one() -> None:
    pauses = Pauses()
    one = PasswordGate(pauses)
    for _ in range(9):
        assert not await one.admits(LOCKED, "guess")
    assert pauses.seconds == [1.0, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST, LONGEST]
    assert await one.admits(LOCKED, "pass-wört")
    assert await one.admits(LOCKED, "pass-wört")
    assert len(pauses.seconds) == 9


async def test_many_guesses_at_once_are_no_faster() -> None:
    pauses = Pauses()
    one = PasswordGate(pauses)
    told = await asyncio.gather(*(one.admits(LOCKED, f"guess {n}") for n in range(100)))
    assert not any(told)
    assert WAITING <= one.wrong <= WAITING + 1  # the others were refused unread
    assert len(pauses.seconds) == one.wrong - 1


async def test_the_process_has_one_gate() -> None:
    one = context(FakeRelay())
    assert gate(one) is gate(one)
