"""Slots of calls at the same time that many processes share.

A store is told how many slots this process has of each holder, and for how long. Calls take those; where all
are used the store is asked for more, and what nobody uses goes back within a quarter of a second. Who is
killed has its slots for `SECONDS` more. A process that cannot reach the store for so long may find its slots
given to others, while its calls go on: then, and while the store does not answer, each process by itself lets
in as many as the limit says, and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import uuid4

from guardhouse.interceptors.chain import LOG

from .asker import Asker, Question
from .leases import BEGIN
from .reach import Reach
from .slots import Slot, Taken
from .stores import Hold, Store, StoreError

SECONDS: Final = 10.0  # for which the store is told
PATIENCE: Final = 0.1  # seconds that a call waits for the store
TIDY: Final = 0.2  # seconds between two times that slots that nobody uses go back
LOOK: Final = 0.05  # seconds after which it is seen whether it is time
FULL: Final = 0.05  # seconds for which a holder who had none left is not asked about again
Want = tuple[int, int]  # slots beyond those that are used, and the limit


class _Held:
    """Slots of one holder: *used* by calls, *granted* by the store until it *lapses*; *full*: until when
    there are no more; *unsure*: until when it may hold some that were never heard of here, as it was asked
    and did not answer. Times are monotonic seconds.
    """

    __slots__ = ("full", "granted", "lapses", "most", "unsure", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = self.granted = 0
        self.lapses = self.full = self.unsure = 0.0

    def stale(self, now: float) -> bool:
        """Whether the store should be told anew: there are more than are used, maybe, or not for long."""
        more = self.granted > self.used or now < self.unsure
        return more or (self.used > 0 and self.lapses < now + SECONDS * 2 / 3)


class SharedSlots:
    """Slots that a store holds. `take` never waits.

    Args:
        store: Where they are held; closed by somebody else.
        clock: Monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._process = uuid4().hex
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._tidy_at = 0.0
        self._reach = Reach(clock)
        self._asker: Asker[str, Want] = Asker("guardhouse-slots", self._ask, self._tidy, LOOK)
        self._asker.want({"guardhouse starts": (0, 1)}, lambda one, _: one).over.wait(BEGIN)  # as there

    def take(self, slots: Sequence[Slot]) -> Taken | None:
        """Take all *slots*, no two of one holder, or none; None where only `fetch` can tell."""
        now = self._clock()
        with self._lock:
            lacking = [place for place, slot in enumerate(slots) if not self._has(slot, now)]
            if not lacking:
                self._use(slots)
                return Taken()
            for place in lacking:
                if now < self._held[slots[place].holder].full:
                    return Taken(place)
        if self._reach.is_near(now, PATIENCE):
            return None
        if self._reach.is_to_probe(now):
            self._want(slots, now)
        return self._by_itself(slots)

    def fetch(self, slots: Sequence[Slot]) -> Taken:
        """The same, and asks the store. Blocks for `PATIENCE`."""
        end = (now := self._clock()) + PATIENCE
        while (taken := self.take(slots)) is None:
            question = self._want(slots, now)
            if not question.over.wait(max(0.0, end - now)) or not question.well:
                self._reach.lost()
                return self._by_itself(slots)
            if (now := self._clock()) >= end:  # it answers, and others are quicker
                return self.take(slots) or Taken(0)
        return taken

    def give_back(self, holders: Sequence[str]) -> None:
        """Give back one slot of each of *holders*."""
        with self._lock:
            for holder in holders:
                self._held[holder].used -= 1

    def used(self, holder: str) -> int:
        """Slots of *holder* that are taken here."""
        held = self._held.get(holder)
        return held.used if held else 0

    def close(self) -> None:
        """Ask no more, and give back what the store has granted, if it answers."""
        self._asker.close(patience=1.0)
        with self._lock:  # a store that hangs has the asker's thread still at work
            holds = [Hold(holder, held.most, 0) for holder, held in self._held.items()]
        try:
            self._store.hold(self._process, holds, SECONDS)
        except StoreError as error:
            LOG.error("slots could not be given back, and are so in %g s: %s", SECONDS, error)

    def _has(self, slot: Slot, now: float) -> bool:
        held = self._of(*slot)
        return now < held.lapses and held.used < held.granted

    def _of(self, holder: str, most: int) -> _Held:
        held = self._held.get(holder)
        if held is None:
            held = self._held[holder] = _Held(most)
        held.most = most
        return held

    def _use(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            self._of(*slot).used += 1

    def _by_itself(self, slots: Sequence[Slot]) -> Taken:
        with self._lock:
            for place, (holder, most) in enumerate(slots):
                if self.used(holder) >= most:
                    return Taken(place, alone=True)
            self._use(slots)
            return Taken(alone=True)

    def _want(self, slots: Sequence[Slot], now: float) -> Question[str, Want]:
        with self._lock:
            lacking = {slot.holder: (1, slot.most) for slot in slots if not self._has(slot, now)}
        return self._asker.want(lacking, lambda one, other: (one[0] + other[0], other[1]))

    def _ask(self, wants: Mapping[str, Want]) -> None:
        with self._lock:
            holds = [
                Hold(holder, most, min(most, self._of(holder, most).used + wanted))
                for holder, (wanted, most) in wants.items()
            ]
        self._tell(holds)
        full = self._clock() + FULL
        with self._lock:
            for hold in holds:
                held = self._held[hold.name]
                short = held.granted < hold.slots or hold.slots == hold.limit
                # Calls may have been quicker than this, and have used all that there was in hand.
                if short and held.granted <= held.used:
                    held.full = full
        self._reach.found()

    def _tell(self, holds: Sequence[Hold]) -> None:
        """Have the store hold so many slots. Calls may use what it grants once it has answered."""
        now = self._clock()
        with self._lock:
            for hold in holds:
                self._held[hold.name].unsure = now + SECONDS
        with self._reach.asked():
            granted = self._store.hold(self._process, holds, SECONDS)
        with self._lock:
            for hold, count in zip(holds, granted, strict=True):
                held = self._held[hold.name]
                held.granted, held.lapses = count, now + SECONDS
                held.full = held.unsure = 0.0

    def _tidy(self) -> None:
        """Give back what nobody uses, and renew the rest. No call may use what goes back from here on."""
        now = self._clock()
        if now < self._tidy_at:
            return
        self._tidy_at = now + TIDY
        with self._lock:
            for holder, held in list(self._held.items()):
                if not held.used and not held.granted and now >= max(held.full, held.unsure):
                    del self._held[holder]
            stale = {holder: held for holder, held in self._held.items() if held.stale(now)}
            for held in stale.values():
                held.granted = min(held.granted, held.used)
            holds = [Hold(holder, held.most, min(held.most, held.used)) for holder, held in stale.items()]
        if holds:
            self._tell(holds)
