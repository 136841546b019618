"""Units in hand: taken from a store ahead of use, so that most calls need not ask it.

What is in hand counts as spent in the store. So calls in any number of processes never spend more than a
budget has, and who is killed has paid for what it held. What it costs: while one process holds units that it
does not use, another may be refused. It is at most one part in `AHEAD` of a budget for each process, and for
no longer than `IDLE` after the last call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.chain import LOG

from .stores import Account, Short, Store, StoreError, UnaskedError, Want

AHEAD: Final = 500  # a five-hundredth of a budget is taken ahead
IDLE: Final = 1.0  # seconds after which units that nobody used go back
DRY: Final = 0.2  # seconds for which an account that had too little is not asked again
MOST: Final = 100_000  # accounts with units in hand; of more, no units are taken ahead
PATIENCE: Final = 2.0  # seconds to wait for those who ask the store before
Key = tuple[str, str]


class Till(Protocol):
    """Where calls pay. `reserve` and `refund` never wait."""

    def reserve(self, costs: Mapping[Account, int], exact: bool) -> Short | bool:
        """Reserve all *costs*, or none: True, `Short`, or False where only `fetch` can tell."""

    def fetch(self, costs: Mapping[Account, int], exact: bool) -> Short | None:
        """The same, and asks the store. May block; raises StoreError."""

    def refund(self, units: Sequence[tuple[Account, int]]) -> None:
        """Give back what was reserved and not used."""

    def left(self, account: Account) -> int:
        """Units that *account* has. May block; raises StoreError."""

    def close(self) -> None:
        """Give everything back."""


class Direct:
    """A till whose *store* never blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refund = store.give
        self.close = store.close

    def reserve(self, costs: Mapping[Account, int], exact: bool) -> Short | bool:
        """See `Till`; never False."""
        found = self._store.take([Want(account, cost, cost) for account, cost in costs.items()])
        return found if isinstance(found, Short) else True

    def fetch(self, costs: Mapping[Account, int], exact: bool) -> Short | None:
        """See `Till`."""
        found = self.reserve(costs, exact)
        return found if isinstance(found, Short) else None

    def left(self, account: Account) -> int:
        """See `Till`."""
        return _left(self._store, account)


class Purse:
    """A till with units in hand.

    Args:
        store: Where they are taken from, and closed with the purse.
        clock: Monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._hand: dict[Key, tuple[Account, int, float]] = {}  # units, and when they were last touched
        self._dry: Bounded[Key, tuple[int, float]] = Bounded(MOST)  # units there were, and until when
        self._lock = threading.Lock()
        self._asking = threading.Lock()  # one at a time: what the first brings may do for all
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tidy, name="guardhouse-budgets", daemon=True)
        self._thread.start()

    def reserve(self, costs: Mapping[Account, int], exact: bool) -> Short | bool:
        """See `Till`. *exact*: False, unless it is known that there is too little."""
        now = self._clock()
        with self._lock:
            for account, cost in costs.items():
                if self._units(account) < cost:
                    short = self._known_short(account, cost, now)
                    return short or False
            if exact:
                return False
            for account, cost in costs.items():
                self._put(account, -cost, now)
        return True

    def fetch(self, costs: Mapping[Account, int], exact: bool) -> Short | None:
        """See `Till`."""
        if not self._asking.acquire(timeout=PATIENCE):
            raise StoreError("too many wait for the store of budgets")
        try:
            known = self.reserve(costs, exact)
            if known is True:
                return None
            return known or self._ask(costs, exact)
        finally:
            self._asking.release()

    def refund(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Till`."""
        now = self._clock()
        with self._lock:
            for account, count in units:
                self._put(account, count, now)

    def left(self, account: Account) -> int:
        """See `Till`; with what is in hand here."""
        return self._units(account) + _left(self._store, account)

    def close(self) -> None:
        """See `Till`. Raises StoreError where that cannot be done: what was in hand is spent then."""
        self._ended.set()
        self._thread.join(PATIENCE)
        try:
            self._give_back(older_than=float("inf"))
        finally:
            self._store.close()

    def _ask(self, costs: Mapping[Account, int], exact: bool) -> Short | None:
        """Take what is wanting from the store, and some more."""
        held = {} if exact else self._set_aside(costs)
        wants = [self._want(account, cost - held.get(account, 0), exact) for account, cost in costs.items()]
        try:
            found = self._store.take(wants)
        except StoreError:
            self.refund(list(held.items()))
            raise
        if isinstance(found, Short):
            self.refund(list(held.items()))
            now = self._clock()
            self._dry.put((found.account.name, found.account.window), (found.left, now + DRY))
            return Short(found.account, found.left + held.get(found.account, 0))
        more = [(want.account, taken - want.least) for want, taken in zip(wants, found, strict=True)]
        self.refund([(account, units) for account, units in more if units])
        return None

    def _set_aside(self, costs: Mapping[Account, int]) -> dict[Account, int]:
        """Take from what is in hand as much of *costs* as there is: it must not be spent meanwhile."""
        now = self._clock()
        with self._lock:
            held = {account: min(cost, self._units(account)) for account, cost in costs.items()}
            for account, units in held.items():
                self._put(account, -units, now)
        return held

    def _want(self, account: Account, wanting: int, exact: bool) -> Want:
        ahead = 0 if exact or len(self._hand) >= MOST else account.limit // AHEAD
        return Want(account, wanting, wanting + ahead)

    def _units(self, account: Account) -> int:
        held = self._hand.get((account.name, account.window))
        return held[1] if held else 0

    def _put(self, account: Account, units: int, now: float) -> None:
        key = (account.name, account.window)
        left = self._units(account) + units
        if left:
            self._hand[key] = account, left, now
        else:
            self._hand.pop(key, None)

    def _known_short(self, account: Account, cost: int, now: float) -> Short | None:
        dry = self._dry.get((account.name, account.window))
        units = self._units(account)
        if dry is None or now >= dry[1] or dry[0] + units >= cost:
            return None
        return Short(account, dry[0] + units)

    def _tidy(self) -> None:
        trouble = ""
        while not self._ended.wait(IDLE / 2):
            try:
                self._give_back(older_than=self._clock() - IDLE)
                trouble = ""
            except StoreError as error:
                if str(error) != trouble:
                    LOG.error("units of budgets could not be given back: %s", error)
                trouble = str(error)

    def _give_back(self, older_than: float) -> None:
        """Give back what nobody touched. What fails may have happened, so it is spent: never given twice."""
        with self._lock:
            idle = [(key, held) for key, held in self._hand.items() if held[2] < older_than]
            for key, _ in idle:
                del self._hand[key]
        units = [(account, count) for _, (account, count, _) in idle]
        try:
            if units:
                self._store.give(units)
        except UnaskedError:
            self.refund(units)
            raise


def _left(store: Store, account: Account) -> int:
    """What *account* has: more than there can be is asked of it, so nothing is taken."""
    found = store.take([Want(account, account.limit + 1, account.limit + 1)])
    return found.left if isinstance(found, Short) else 0
