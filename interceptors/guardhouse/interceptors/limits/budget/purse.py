"""Units in hand: taken from a store ahead of use, so that most calls need not ask it.

What is in hand counts as spent in the store. So calls in any number of processes never spend more than a
budget has, and who is killed has paid for what it held. What it costs: while one process holds units that it
does not use, another may be refused. It is at most one part in `AHEAD` of a budget for each process, and for
no longer than `IDLE` after the last call.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.chain import LOG
from guardhouse.interceptors.limits.stores import Account, Short, Store, UnaskedError, Want

AHEAD: Final = 500  # a five-hundredth of a budget is taken ahead
IDLE: Final = 1.0  # seconds after which units that nobody used go back
DRY: Final = 0.2  # seconds for which an account that had too little is not asked again
MOST: Final = 100_000  # accounts with units in hand; of more, no units are taken ahead
PATIENCE: Final = 1.0  # seconds to wait for those who ask the store before
STUCK: Final = 0.5  # seconds for which nobody waits, once somebody has waited in vain
AT_ONCE: Final = 500  # accounts in one question: a store has little time for each
LOOKS: Final = 8  # hands that a new one looks at, to drop those that are empty
Cost = tuple[Account, int]


class _Hand:
    """Units in hand of one account. *touched*: when they last changed, in monotonic seconds; *unused*: how
    many nobody has needed since the purse was last tidied.
    """

    __slots__ = ("touched", "units", "unused")

    def __init__(self, units: int, touched: float) -> None:
        self.units, self.touched, self.unused = units, touched, 0

    def pay(self, units: int) -> None:
        """Take *units* out."""
        self.units -= units
        self.unused = min(self.unused, self.units)

    def spare(self, kept: int) -> int:
        """Take out what nobody has needed lately, but for *kept*."""
        spare = max(0, self.unused - kept)
        self.units -= spare
        self.unused = self.units
        return spare


class Purse:
    """Where calls pay. `reserve` and `refund` never wait.

    Args:
        store: Where units are taken from; closed with the purse.
        waits: Whether the store may block, and others take from it as well. One that does neither, in
            memory, is asked wherever there is need; idle units lie here as well as there.
        clock: Monotonic seconds.
    """

    def __init__(
        self, store: Store, *, waits: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._waits, self._clock = store, waits, clock
        # A dict that is emptied from its front looks through all that has gone, each time.
        self._hands: OrderedDict[Account, _Hand] = OrderedDict()
        self._dry: Bounded[Account, tuple[int, float]] = Bounded(MOST)  # units there were, and until when
        self._owed: list[Cost] = []
        self._stuck_until = 0.0  # monotonic seconds
        self.away = False  # the store did not answer when it was asked last
        self._lock = threading.Lock()
        self._asking = threading.Lock()  # one at a time: what the first brings may do for all
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tidy, name="guardhouse-budgets", daemon=True)
        if waits:
            self._thread.start()

    def reserve(self, costs: Sequence[Cost], exact: bool = False) -> Short | bool:
        """Reserve all *costs*, or none: True, `Short`, or False where only `fetch` can tell.

        *exact*: what is in hand does not count, if there are others who take from the store.
        """
        if not self._waits:
            return self._reserve(costs) or self._ask(costs) or True
        return self._known_short(costs) or (not exact and self._reserve(costs))

    def fetch(self, costs: Sequence[Cost], exact: bool = False) -> Short | None:
        """The same, and asks the store. May block; raises StoreError."""
        with self._turn():
            known = self.reserve(costs, exact)
            if known is True:
                return None
            return known or self._ask(costs, exact)

    def owe(self, costs: Sequence[Cost]) -> None:
        """Spend what was used and not reserved, as far as there is any left; of a store that waits, soon."""
        aside = self._set_aside(costs)
        owed = [(account, units - had) for (account, units), (_, had) in zip(costs, aside, strict=True)]
        with self._lock:
            self._owed += [each for each in owed if each[1]]
        if not self._waits:
            self._pay_debts()

    def refund(self, costs: Sequence[Cost]) -> None:
        """Give back what was reserved and not used."""
        now = self._clock()
        with self._lock:
            for account, units in costs:
                self._put(account, units, now)

    def left(self, account: Account) -> int:
        """Units that *account* has. May block; raises StoreError."""
        with self._turn():
            return self._in_hand(account) + _left(self._store, account)

    def close(self) -> None:
        """Give everything back. Raises StoreError where that cannot be done: it is spent then."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        try:
            self._pay_debts()
            self._give_back(older_than=float("inf"))
        finally:
            self._store.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One's turn to ask. Where somebody has waited too long for it, all others are refused at once for a
        while: they would wait as long behind each other.
        """
        if self._clock() < self._stuck_until or not self._asking.acquire(timeout=PATIENCE):
            if self._clock() >= self._stuck_until:
                self._stuck_until = self._clock() + STUCK
            raise UnaskedError("the store of budgets does not answer")
        try:
            yield
        finally:
            self._asking.release()

    def _reserve(self, costs: Sequence[Cost]) -> bool:
        """Reserve from what is in hand, if all of it is there."""
        now, hands = self._clock(), self._hands
        with self._lock:
            for account, units in costs:
                hand = hands.get(account)
                if hand is None or hand.units < units:
                    return False
            for account, units in costs:
                hand = hands[account]
                hand.units -= units
                if hand.unused > hand.units:
                    hand.unused = hand.units
                hand.touched = now
        return True

    def _ask(self, costs: Sequence[Cost], exact: bool = False) -> Short | None:
        """Take what is wanting from the store, and some more."""
        aside = [(account, 0) for account, _ in costs] if exact else self._set_aside(costs)
        wants = [
            self._want(account, units - had, exact)
            for (account, units), (_, had) in zip(costs, aside, strict=True)
        ]
        try:
            found = self._store.take(wants)
        except BaseException:
            self.away = True
            self.refund(aside)
            raise
        self.away = False
        if isinstance(found, Short):
            self.refund(aside)
            if self._waits:
                self._dry.put(found.account, (found.left, self._clock() + DRY))
            return Short(found.account, found.left + dict(aside)[found.account])
        self.refund([(want.account, taken - want.least) for want, taken in zip(wants, found, strict=True)])
        return None

    def _set_aside(self, costs: Sequence[Cost]) -> list[Cost]:
        """Take from what is in hand as much of *costs* as there is: it must not be spent meanwhile."""
        aside = []
        with self._lock:
            for account, units in costs:
                had = min(units, self._in_hand(account))
                if had:
                    self._hands[account].pay(had)
                aside.append((account, had))
        return aside

    def _in_hand(self, account: Account) -> int:
        hand = self._hands.get(account)
        return hand.units if hand else 0

    def _want(self, account: Account, wanting: int, exact: bool) -> Want:
        ahead = 0 if exact or len(self._hands) >= MOST else account.limit // AHEAD
        return Want(account, wanting, wanting + ahead)

    def _put(self, account: Account, units: int, now: float) -> None:
        hand = self._hands.get(account)
        if hand is not None:
            hand.units += units
            hand.touched = now
        elif units:
            self._make_room(now)
            self._hands[account] = _Hand(units, now)

    def _make_room(self, now: float) -> None:
        """Look at the oldest hands, and drop those with nothing: what a new one costs is always the same.

        Where no thread gives back what is idle, that is done here too.
        """
        for account in list(islice(self._hands, LOOKS)):
            hand = self._hands.pop(account)
            if hand.units and not self._waits and hand.touched < now - IDLE:
                self._store.give([(account, hand.units)])
            elif hand.units:
                self._hands[account] = hand

    def _known_short(self, costs: Sequence[Cost]) -> Short | None:
        """An account that had too little a moment ago, and has still, with what is in hand."""
        if not self._dry:
            return None
        for account, units in costs:
            dry = self._dry.get(account)
            if dry is not None and self._clock() < dry[1]:
                left = dry[0] + self._in_hand(account)
                if left < units:
                    return Short(account, left)
        return None

    def _tidy(self) -> None:
        trouble = ""
        while not self._ended.wait(IDLE / 2):
            try:
                self._pay_debts()
                self._give_back(older_than=self._clock() - IDLE)
                trouble = ""
            except Exception as error:  # of whatever kind: nobody else would give anything back
                if str(error) != trouble:
                    LOG.error("units of budgets could not be given back: %s", error)
                trouble = str(error)

    def _pay_debts(self) -> None:
        """Spend what is owed. A question that failed may have been answered: it is not asked again."""
        while True:
            with self._lock:
                if not self._owed:
                    return
                account, units = self._owed.pop()
            try:
                self._store.take([Want(account, 0, units)])
            except UnaskedError:
                with self._lock:
                    self._owed.append((account, units))
                raise

    def _give_back(self, older_than: float) -> None:
        """Give back what nobody touched, or needed: calls leave far more than is taken ahead where they
        reserve much and need little. What fails may have happened, so it is spent: never given twice.
        """
        with self._lock:
            idle = [account for account, hand in self._hands.items() if hand.touched < older_than]
            units = [(account, self._hands.pop(account).units) for account in idle]
            units += [(account, hand.spare(account.limit // AHEAD)) for account, hand in self._hands.items()]
        units = [each for each in units if each[1]]
        while units:
            some, units = units[:AT_ONCE], units[AT_ONCE:]
            try:
                self._store.give(some)
            except UnaskedError:
                self.refund(some + units)
                raise
            except BaseException:
                self.refund(units)
                raise


def _left(store: Store, account: Account) -> int:
    """What *account* has: more than there can be is asked of it, so nothing is taken."""
    found = store.take([Want(account, account.limit + 1, account.limit + 1)])
    return found.left if isinstance(found, Short) else 0
