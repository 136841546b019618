"""Limits of one process, gone with it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from . import GRACE, Account, Drawn, Drip, Entry, Hold, Short, StoreError, Want
from .checks import check_drips, check_holds, check_units, check_wants
from .memory_rates import MemoryRates
from .memory_slots import MemorySlots
from .portions import portions

MOST = 1_000_000  # accounts, of some 500 bytes each; one more is refused, so that none comes back richer
LOOKS = 8  # accounts that a new one looks at, to drop those that are over


class _Kept(NamedTuple):
    entry: Entry
    until: float  # seconds since the epoch


class MemoryStore:
    """A few dictionaries under a lock.

    Args:
        clock: Seconds since the epoch.
        ticks: Seconds that are never set, for rates and slots.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        # A dict that is emptied from its front looks through all that has gone, each time.
        self._accounts: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._clock, self._ticks = clock, ticks
        self._rates, self._slots = MemoryRates(), MemorySlots()

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """See `Store`. Never blocks for long."""
        check_wants(wants)
        with self._lock:
            if len(self._accounts) + len(wants) > MOST:
                self._forget()
                if len(self._accounts) + len(wants) > MOST and not all(map(self._known, wants)):
                    raise StoreError(f"more than {MOST} accounts are kept in memory")
            taken = portions(wants, [self._spent(want.account) for want in wants])
            if isinstance(taken, Short):
                return taken
            for want, units in zip(wants, taken, strict=True):
                self._spend(want.account, units)
            return taken

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Store`."""
        check_units(units)
        with self._lock:
            for account, count in units:
                kept = self._accounts.get((account.name, account.window))
                if kept is not None:
                    self._keep(kept.entry._replace(spent=max(0, kept.entry.spent - count)))

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """See `Store`. Of a million rates; those who then find no room share one for each pace."""
        check_drips(drips)
        with self._lock:
            now = self._ticks()
            return tuple([self._rates.draw(drip, now) for drip in drips])

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """See `Store`. Of a million names; one that then finds no room gets no slot."""
        check_holds(process, holds, seconds)
        with self._lock:
            now = self._ticks()
            return tuple([self._slots.hold(process, hold, seconds, now) for hold in holds])

    def entries(self) -> Iterator[Entry]:
        """See `Store`."""
        with self._lock:
            found = sorted(kept.entry for kept in self._accounts.values())
        yield from found

    def reset(self, name: str) -> int:
        """See `Store`."""
        with self._lock:
            keys = [key for key in self._accounts if key[0] == name]
            for key in keys:
                del self._accounts[key]
            return len(keys)

    def close(self) -> None:
        """See `Store`."""

    def _known(self, want: Want) -> bool:
        return (want.account.name, want.account.window) in self._accounts

    def _spent(self, account: Account) -> int:
        kept = self._accounts.get((account.name, account.window))
        return 0 if kept is None else kept.entry.spent

    def _spend(self, account: Account, units: int) -> None:
        if (account.name, account.window) not in self._accounts:
            self._forget()
        name, window, limit, ends = account
        self._keep(Entry(name, window, limit, self._spent(account) + units, ends))

    def _keep(self, entry: Entry) -> None:
        until = max(entry.ends, self._clock()) + GRACE
        self._accounts[entry.name, entry.window] = _Kept(entry, until)

    def _forget(self) -> None:
        """Look at the oldest accounts, and drop those long over: what a new one costs is always the same."""
        now = self._clock()
        for key in list(islice(self._accounts, LOOKS)):
            kept = self._accounts.pop(key)
            if kept.until > now:
                self._accounts[key] = kept
