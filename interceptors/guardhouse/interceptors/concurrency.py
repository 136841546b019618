"""So many calls of each principal at the same time. A slot is free again when the work has really stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

from .call import Call, Principal
from .chain import Guard, Stage
from .policy import Grant
from .refusal import Refusal

RETRY_AFTER: Final = 0.1  # seconds; nobody knows when a call will end
CALL: Final = "the call"  # holds its slot until it is settled
Key = tuple[str, str]  # issuer and name: two issuers may give two people one name


class Slot:
    """The place of one call. Whoever works for the call holds it; once nobody does, it is free for good.

    A thread cannot be interrupted, so it may work on when its caller has left and the call is settled.

    Args:
        lock: Guards the count that `free` changes.
        free: Called once, under the lock.
    """

    __slots__ = ("_free", "_holders", "_lock")

    def __init__(self, lock: threading.Lock, free: Callable[[], None]) -> None:
        self._lock, self._free = lock, free
        self._holders: set[Hashable] = {CALL}

    def hold(self, holder: Hashable) -> None:
        """Keep the slot until *holder* lets go. Raises `Refusal`: it is free, no work may begin any more."""
        with self._lock:
            if not self._holders:
                raise Refusal("CANCELLED", "the call has ended")
            self._holders.add(holder)

    def let_go(self, holder: Hashable) -> None:
        """Give the slot back, if *holder* was the last. Nothing happens where it holds nothing."""
        with self._lock:
            if holder in self._holders:
                self._holders.remove(holder)
                if not self._holders:
                    self._free()


class Concurrency(Guard):
    """Gives each call one slot at its first message, or refuses it if its principal has none left.

    A stream has one slot, however many messages it carries. The lock makes a decision one step for threads.
    """

    stage = Stage.BUDGET

    def __init__(self) -> None:
        self._taken: dict[Key, int] = {}  # of those who have any
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Take a slot, unless the call has one or needs none."""
        grant = call.grant
        if grant is not None and grant.concurrency is not None and call.slot is None:
            self._take(call, grant.concurrency)

    def settle(self, call: Call) -> None:
        """The call needs its slot no longer; threads that still work for it may."""
        if call.slot is not None:
            call.slot.let_go(CALL)

    def remaining(self, principal: Principal, grant: Grant) -> int | None:
        """Calls that would get a slot now; None where nothing limits them."""
        if grant.concurrency is None:
            return None
        return max(0, grant.concurrency - self._taken.get(_key(principal), 0))

    def _take(self, call: Call, most: int) -> None:
        key = _key(call.principal)
        with self._lock:
            if call.closed:  # settled meanwhile by another thread: nobody would give the slot back
                raise Refusal("CANCELLED", "the call has ended")
            taken = self._taken.get(key, 0)
            if taken >= most:
                raise Refusal("CONCURRENCY_LIMITED", f"{most} at once", retry_after=RETRY_AFTER)
            self._taken[key] = taken + 1
            call.slot = Slot(self._lock, partial(self._give_back, key))

    def _give_back(self, key: Key) -> None:
        taken = self._taken.pop(key) - 1
        if taken:
            self._taken[key] = taken


def _key(principal: Principal) -> Key:
    return principal.issuer, principal.name
