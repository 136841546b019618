"""How much a rate gives: the decision of a `draw`, without the keeping.

The generic cell rate algorithm as a leaky bucket (ITU-T I.371, annex A, has both forms): kept is what is owed
at some time, and not the time when nothing will be. A time of day in a double is exact to no more than
0.2 µs, and what is drawn at a million units a second would be lost in it; differences of two such times are
exact. And a clock that is set back changes nothing of what is owed.
"""

from __future__ import annotations

from math import floor, inf
from typing import Final, NamedTuple

from . import Drawn, Drip

SLACK: Final = 1e-9  # of the burst: by so much a decision may be off for what floating point loses
TICK: Final = 1e-6  # seconds: who waits for as long as told has not waited too short by such a clock


class Debt(NamedTuple):
    """What a rate is owed: *owed* units at *at* (seconds); nothing any more from *full* on."""

    owed: float
    at: float
    full: float


def owed(debt: Debt | None, interval: float, now: float) -> float:
    """Units owed *now*; by a clock that was set back, as many as before."""
    return 0.0 if debt is None else max(0.0, debt.owed - max(0.0, now - debt.at) / interval)


def drawn(drip: Drip, owed: float, now: float) -> tuple[Drawn, Debt]:
    """What a rate that is *owed* so many units gives, and is owed then."""
    burst = drip.tolerance / drip.interval
    passing = max(0, floor(burst - owed + SLACK * burst))
    units = min(drip.most, passing) if passing >= drip.least else 0
    total = owed + units
    debt = Debt(total, now, now + total * drip.interval)
    if units:
        return Drawn(units, 0.0, passing - units), debt
    never = drip.least > burst + SLACK * burst
    return Drawn(0, inf if never else (owed + drip.least - burst) * drip.interval + TICK, passing), debt
