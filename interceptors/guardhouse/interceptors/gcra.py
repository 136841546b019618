"""The generic cell rate algorithm (ITU-T I.371, annex A), pure: one number of state for each key."""

from __future__ import annotations

import math
from typing import NamedTuple


class Limit(NamedTuple):
    """A rate with a burst, as the algorithm wants it.

    Attributes:
        interval: Seconds that one call costs.
        tolerance: Seconds of calls that may be spent at once: the burst times the interval.
    """

    interval: float
    tolerance: float


class Verdict(NamedTuple):
    """What became of one call.

    Attributes:
        arrival: The new theoretical arrival time to keep; unchanged where refused.
        wait: Seconds until the call would pass; 0.0 where it has passed.
        left: Calls that would still pass at once.
    """

    arrival: float
    wait: float
    left: int


def limit(per_second: float, burst: int) -> Limit:
    """*per_second* calls in the long run, *burst* at once."""
    if per_second <= 0 or burst < 1:
        message = "a rate is above 0 and its burst at least 1"
        raise ValueError(message)
    return Limit(1.0 / per_second, burst / per_second)


def decide(limit: Limit, arrival: float, now: float, cost: int = 1) -> Verdict:
    """Whether *cost* calls (at most the burst) may pass at *now* (seconds).

    *arrival* is the theoretical arrival time kept so far; 0.0 for a key never seen.
    """
    ahead = max(0.0, arrival - now) + cost * limit.interval
    over = ahead - limit.tolerance
    if over > _slack(limit, now):
        return Verdict(arrival, over, 0)
    after = max(arrival, now) + cost * limit.interval
    return Verdict(after, 0.0, left(limit, after, now))


def left(limit: Limit, arrival: float, now: float) -> int:
    """Calls that would pass at *now*."""
    unspent = limit.tolerance - max(0.0, arrival - now)
    return max(0, int((unspent + _slack(limit, now)) / limit.interval))


def _slack(limit: Limit, now: float) -> float:
    """What floating point loses in keeping a time as large as *now*, once for each call of a burst."""
    burst = limit.tolerance / limit.interval
    return 1e-9 * limit.tolerance + (2 + burst) * math.ulp(now)
