"""The generic cell rate algorithm (ITU-T I.371, annex A), pure: one number of state for each key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ulp
from typing import NamedTuple


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A rate with a burst, as the algorithm wants it. Made by `limit`: two are the same only as one object.

    Attributes:
        interval: Seconds that one call costs.
        tolerance: Seconds of calls that may be spent at once: the burst times the interval.
        slack: Seconds by which a decision may be off for what floating point loses in the tolerance.
        steps: The same for each unit in the last place of the time.
    """

    interval: float
    tolerance: float
    slack: float
    steps: float


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


@cache  # there are as many as the policy names
def limit(per_second: float, burst: int) -> Limit:
    """*per_second* calls in the long run, *burst* at once."""
    if per_second <= 0 or burst < 1:
        message = "a rate is above 0 and its burst at least 1"
        raise ValueError(message)
    tolerance = burst / per_second
    return Limit(1.0 / per_second, tolerance, 1e-9 * tolerance, 2.0 + burst)


def decide(limit: Limit, arrival: float, now: float, cost: int = 1) -> Verdict:
    """Whether *cost* calls (at most the burst) may pass at *now* (seconds).

    *arrival* is the theoretical arrival time kept so far; 0.0 for a key never seen.
    """
    spent = cost * limit.interval
    over = (arrival - now if arrival > now else 0.0) + spent - limit.tolerance
    slack = limit.slack + limit.steps * ulp(now)
    if over > slack:
        return Verdict(arrival, over, 0)
    after = (arrival if arrival > now else now) + spent  # noqa: FURB136 - max() is three times as dear
    unspent = limit.tolerance - (after - now) + slack
    return Verdict(after, 0.0, int(unspent / limit.interval) if unspent > 0 else 0)


def left(limit: Limit, arrival: float, now: float) -> int:
    """Calls that would pass at *now*."""
    unspent = limit.tolerance - max(0.0, arrival - now) + limit.slack + limit.steps * ulp(now)
    return max(0, int(unspent / limit.interval))
