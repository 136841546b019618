"""Budgets of one process, gone with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from . import GRACE, Account, Entry, Short, Want

LOOKS = 8  # accounts that a new one looks at, to drop those that are over


class MemoryStore:
    """A dictionary under a lock.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._spent: dict[tuple[str, str], Entry] = {}
        self._lock = threading.Lock()
        self._clock = clock

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """See `Store`. Never blocks for long."""
        with self._lock:
            lefts = [self._left(want.account) for want in wants]
            for want, left in zip(wants, lefts, strict=True):
                if left < want.least:
                    return Short(want.account, left)
            taken = tuple(min(want.most, left) for want, left in zip(wants, lefts, strict=True))
            for want, units in zip(wants, taken, strict=True):
                self._spend(want.account, units)
            return taken

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Store`."""
        with self._lock:
            for account, count in units:
                if (account.name, account.window) in self._spent:
                    self._spend(account, -count)

    def entries(self) -> Iterator[Entry]:
        """See `Store`."""
        with self._lock:
            found = sorted(self._spent.values())
        yield from found

    def reset(self, name: str) -> int:
        """See `Store`."""
        with self._lock:
            keys = [key for key in self._spent if key[0] == name]
            for key in keys:
                del self._spent[key]
            return len(keys)

    def close(self) -> None:
        """See `Store`."""

    def _left(self, account: Account) -> int:
        entry = self._spent.get((account.name, account.window))
        return max(0, account.limit - (entry.spent if entry else 0))

    def _spend(self, account: Account, units: int) -> None:
        key = (account.name, account.window)
        entry = self._spent.get(key)
        if entry is None:
            self._forget()
        spent = max(0, (entry.spent if entry else 0) + units)
        self._spent[key] = Entry(account.name, account.window, account.limit, spent, account.ends)

    def _forget(self) -> None:
        """Look at the oldest accounts, and drop those long over: what a new one costs is always the same."""
        now = self._clock()
        for key in list(islice(self._spent, LOOKS)):
            entry = self._spent.pop(key)
            if entry.ends + GRACE > now:
                self._spent[key] = entry
