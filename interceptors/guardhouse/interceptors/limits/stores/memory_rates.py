"""What the rates of one process are owed."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

from . import Drawn, Drip
from .drips import Debt, drawn, owed

MOST: Final = 1_000_000  # rates that are not full, of some 500 bytes each
LOOKS: Final = 8  # rates that a new one looks at, to drop those that are full again


class MemoryRates:
    """A rate that is full says nothing and is forgotten; one that is not is never forgotten, so nobody comes
    back richer. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._debts: OrderedDict[str, Debt] = OrderedDict()
        # Of all who found no room, by interval and tolerance.
        self._others: dict[tuple[float, float], Debt] = {}

    def draw(self, drip: Drip, now: float) -> Drawn:
        """What the rate gives."""
        pace = drip.interval, drip.tolerance
        known = drip.name in self._debts
        if not known:
            self._forget(now)
        # Who is new may have been among the others, and brings along what all those owe.
        before = self._debts[drip.name] if known else self._others.get(pace)
        answer, debt = drawn(drip, owed(before, drip.interval, now), now)
        if known or len(self._debts) < MOST:
            self._debts[drip.name] = debt
        else:
            self._others[pace] = debt
        return answer

    def _forget(self, now: float) -> None:
        """Look at the oldest rates, and drop those that are full: what a new one costs is always the same."""
        for name in list(islice(self._debts, LOOKS)):
            debt = self._debts.pop(name)
            if debt.full > now:
                self._debts[name] = debt
