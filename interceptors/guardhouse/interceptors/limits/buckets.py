"""Rates in the memory of one process: one number for each holder, by GCRA (see `gcra`)."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from .gcra import Limit, decide, left

MOST_KEYS: Final = 1_000_000  # about 200 MB of distinct holders active at once
LOOKS: Final = (
    8  # old keys a new one looks at to find room: what a call costs does not grow with their number
)
# The holder and the rate: a new rate under an old name begins with a bucket of its own.
Key = tuple[str, Limit]


class Draw(NamedTuple):
    """*units* wanted from the bucket of *holder*."""

    holder: str
    limit: Limit
    units: int = 1


class Answer(NamedTuple):
    """What became of some draws, all of which pass or none.

    Attributes:
        wait: Seconds until they might pass; 0.0 where they have passed, `inf` where they never can.
        at: The place of the one that is to be waited for; where all have passed, of the one with least left.
        left: Units that its bucket would still give at once.
        full: Seconds until that is full again.
        alone: Whether this process alone has decided, though others share the rate.
    """

    wait: float
    at: int = 0
    left: int = 0
    full: float = 0.0
    alone: bool = False


class Buckets:
    """A key whose bucket is full again says nothing and is forgotten; one that is not is never forgotten, so
    nobody comes back richer. The lock makes a decision one step for threads.
    """

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._arrivals: dict[Key, float] = {}
        self._queue: deque[Key] = deque()  # the keys, oldest first
        self._most = most_keys
        self._lock = threading.Lock()

    @property
    def keys(self) -> int:
        """Buckets that are kept."""
        return len(self._arrivals)

    def draw(self, draws: Sequence[Draw], now: float) -> Answer:
        """Draw all, or none. *now*: monotonic seconds."""
        if len(draws) == 1:
            return self._one(draws[0], now)
        with self._lock:
            best = Answer(0.0, left=MOST_KEYS)
            found = []
            for place, (holder, limit, units) in enumerate(draws):
                key, owed = self._owed((holder, limit), now)
                verdict = decide(limit, owed, now, units)
                if verdict.wait:
                    return Answer(_wait(limit, units, verdict.wait), place)
                found.append((key, verdict.arrival))
                if verdict.left < best.left or not place:
                    best = Answer(0.0, place, verdict.left, verdict.arrival - now)
            for (key, arrival), draw in zip(found, draws, strict=True):
                # Two holders who are among all the others have one key: what the first has drawn counts.
                owed = self._arrivals.get(key, 0.0)
                self._arrivals[key] = max(arrival, owed + draw.units * draw.limit.interval)
            return best

    def _one(self, draw: Draw, now: float) -> Answer:
        """The same of a single one, as most calls have it: in half the time."""
        holder, limit, units = draw
        key: Key = holder, limit
        with self._lock:
            owed = self._arrivals.get(key)
            if owed is None:
                key, owed = self._owed(key, now)
            arrival, wait, left = decide(limit, owed, now, units)
            if wait:
                return Answer(_wait(limit, units, wait))
            self._arrivals[key] = arrival
        return Answer(0.0, 0, left, arrival - now)

    def left(self, draw: Draw, now: float) -> int:
        """Units that the bucket would give at *now*."""
        return left(draw.limit, self._arrivals.get((draw.holder, draw.limit), now), now)

    def _owed(self, key: Key, now: float) -> tuple[Key, float]:
        """Where *key* is kept, and what it owes: among everybody else who is new, if there is no room for one
        more. Who was there brings along what all those owe.
        """
        owed = self._arrivals.get(key)
        if owed is not None:
            return key, owed
        if len(self._arrivals) >= self._most:
            self._forget(now)
        others = "", key[1]
        if len(self._arrivals) >= self._most:
            return others, self._arrivals.get(others, 0.0)
        self._queue.append(key)
        owed = self._arrivals[key] = self._arrivals.get(others, 0.0)
        return key, owed

    def _forget(self, now: float) -> None:
        """Look at the oldest keys, and drop those that owe nothing."""
        for _ in range(min(LOOKS, len(self._queue))):
            old = self._queue.popleft()
            if self._arrivals[old] > now:
                self._queue.append(old)
            else:
                del self._arrivals[old]


def _wait(limit: Limit, units: int, wait: float) -> float:
    """Seconds that a draw must *wait*: `inf` where it is more than the burst."""
    return math.inf if units * limit.interval > limit.tolerance + limit.slack else wait
