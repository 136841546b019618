"""So many calls in a period for each principal, kept in memory by GCRA (see `gcra`)."""

from __future__ import annotations

import math
import threading
from collections import deque

from .call import Call, Principal
from .chain import Guard, Stage
from .gcra import Limit, decide, left
from .policy import Grant
from .refusal import Refusal

MOST_KEYS = 1_000_000  # about 200 MB of distinct principals active at once
LOOKS = 8  # old keys a new one looks at to find room: what a call costs does not grow with their number
# Issuer, name (two issuers may give two people one name), and the rate: who holds roles of several rates by
# several tokens has a bucket for each.
Key = tuple[str, str, Limit]


class RateLimit(Guard):
    """Charges one call when it is admitted and one for every further message of a request stream.

    A key whose bucket is full again says nothing and is forgotten; one that is not is never forgotten, so
    nobody comes back richer. The lock makes a decision one step for the threaded shell.
    """

    stage = Stage.RATE

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._arrivals: dict[Key, float] = {}
        self._queue: deque[Key] = deque()  # the keys, oldest first
        self._most = most_keys
        self._lock = threading.Lock()

    def admit(self, call: Call) -> None:
        """Charge the call, or refuse it with the time to wait."""
        if call.grant is not None and call.grant.limit is not None:
            self._charge(call, call.grant.limit)

    def again(self, call: Call, incoming: bool) -> None:
        """Charge each message of a request stream after the first, which `admit` has charged."""
        if incoming and call.requests and call.grant is not None and call.grant.limit is not None:
            self._charge(call, call.grant.limit)

    def remaining(self, principal: Principal, grant: Grant, now: float) -> int | None:
        """Calls that would pass at *now*; None where nothing limits them."""
        if grant.limit is None:
            return None
        return left(grant.limit, self._arrivals.get(_key(principal, grant.limit), now), now)

    @property
    def keys(self) -> int:
        """Buckets that are kept."""
        return len(self._arrivals)

    def _charge(self, call: Call, limit: Limit) -> None:
        key = _key(call.principal, limit)
        with self._lock:
            owed = self._arrivals.get(key)
            if owed is None:  # who was among all the others, for want of room, brings along what those owe
                key = self._place(key, call.now)
                owed = self._arrivals.get(("", "", limit), 0.0)
            verdict = decide(limit, owed, call.now)
            self._arrivals[key] = verdict.arrival
        if verdict.wait:
            note = f"{1 / limit.interval:g} in 1 s"
            raise Refusal("RATE_LIMITED", note, retry_after=verdict.wait, limit="rate")
        if not call.units:
            full = math.ceil(max(0.0, verdict.arrival - call.now))
            call.trailers = (*call.trailers, ("ratelimit", f'"rate";r={verdict.left};t={full}'))
        call.units += 1

    def _place(self, key: Key, now: float) -> Key:
        """Where a new *key* is kept: with everybody else who is new, if there is no room for one more."""
        if len(self._arrivals) >= self._most:
            self._forget(now)
        if len(self._arrivals) >= self._most:
            return "", "", key[2]
        self._queue.append(key)
        return key

    def _forget(self, now: float) -> None:
        """Look at the oldest keys, and drop those that owe nothing."""
        for _ in range(min(LOOKS, len(self._queue))):
            old = self._queue.popleft()
            if self._arrivals[old] > now:
                self._queue.append(old)
            else:
                del self._arrivals[old]


def _key(principal: Principal, limit: Limit) -> Key:
    return principal.issuer, principal.name, limit
