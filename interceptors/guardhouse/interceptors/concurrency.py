"""So many calls of each principal at the same time. A slot is free again when the work has really stopped."""

from __future__ import annotations

import threading
from collections.abc import Collection
from functools import partial
from typing import Any, Final

from .call import Call, Principal
from .chain import Guard, Stage
from .methods import FREE
from .policy import Grant
from .refusal import Refusal
from .work import work_of

RETRY_AFTER: Final = 0.1  # seconds; nobody knows when a call will end
Key = tuple[str, str]  # issuer and name: two issuers may give two people one name


class Concurrency(Guard):
    """Gives each call one slot at its first message, or refuses it if its principal has none left.

    A stream has one slot, however many messages it carries. The lock makes a decision one step for threads.

    Args:
        free: Paths of methods that need no slot.
    """

    stage = Stage.BUDGET

    def __init__(self, free: Collection[str] = FREE) -> None:
        self._free = free
        self._taken: dict[Key, int] = {}  # of those who have any
        self._holding: set[Call] = set()
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Take a slot, unless the call has one or needs none."""
        grant = call.grant
        if grant is None or grant.concurrency is None or call.method in self._free:
            return
        if call not in self._holding:
            self._take(call, grant.concurrency)
            work_of(call).when_over(partial(self._give_back, call))
            if call.closed:  # settled meanwhile by another thread
                raise Refusal("CANCELLED", "the call has ended")

    def remaining(self, principal: Principal, grant: Grant) -> int | None:
        """Calls that would get a slot now; None where nothing limits them."""
        if grant.concurrency is None:
            return None
        return max(0, grant.concurrency - self._taken.get(_key(principal), 0))

    def _take(self, call: Call, most: int) -> None:
        key = _key(call.principal)
        with self._lock:
            taken = self._taken.get(key, 0)
            if taken >= most:
                note = f"{most} at once"
                raise Refusal("CONCURRENCY_LIMITED", note, retry_after=RETRY_AFTER, limit="concurrency")
            self._taken[key] = taken + 1
            self._holding.add(call)

    def _give_back(self, call: Call) -> None:
        key = _key(call.principal)
        with self._lock:
            self._holding.discard(call)
            taken = self._taken.pop(key) - 1
            if taken:
                self._taken[key] = taken


def _key(principal: Principal) -> Key:
    return principal.issuer, principal.name
