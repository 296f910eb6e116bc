"""What a relay has spent that its Redis has not heard of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from .caller import Period

KEEP: Final[dict[Period, int]] = {"day": 3, "month": 40, "total": 400}  # days
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Bill:
    """Where money is counted in Redis."""

    key: str
    period: Period
    label: str
    """The period's: `2026-11`."""
    counted: bool
    """The key has a budget."""

    @property
    def keep(self) -> int:
        """Seconds."""
        return KEEP[self.period] * DAY


class Ledger:
    """Amounts in billionths."""

    def __init__(self) -> None:
        self._untold: defaultdict[Bill, int] = defaultdict(int)
        self._owed: defaultdict[Bill, int] = defaultdict(int)
        self.paying: dict[str, tuple[Bill, int]] = {}
        """What is owed, on its way: each keeps its name, under which it counts once."""

    def alone(self, bill: Bill, cost: int) -> None:
        """Reserved or spent without Redis, or given back if negative. It is told later."""
        self._untold[bill] += cost

    def told(self, bill: Bill, cost: int) -> None:
        self._untold[bill] -= cost
        if not self._untold[bill]:
            del self._untold[bill]

    def untold(self, bill: Bill) -> int:
        return self._untold.get(bill, 0)

    def owe(self, bill: Bill, cost: int) -> None:
        """A request of which Redis knows nothing has ended; many of them are told as one."""
        if cost and bill.counted:
            self._owed[bill] += cost
        else:
            self.told(bill, cost)

    def due(self, name: str) -> None:
        """Put what is owed on its way, under names that begin so."""
        for number, (bill, cost) in enumerate(self._owed.items()):
            self.paying[f"{name}-{number}"] = (bill, cost)
        self._owed.clear()

    def paid(self, name: str) -> None:
        self.told(*self.paying.pop(name))

    @property
    def settled(self) -> bool:
        return not self._owed and not self.paying
