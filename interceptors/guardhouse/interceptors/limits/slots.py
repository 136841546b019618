"""Slots of calls at the same time, in the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

TAKEN: Final = -1


class Slot(NamedTuple):
    """One slot of the *most* that *holder* may have."""

    holder: str
    most: int


class Taken(NamedTuple):
    """What became of some slots, all of which are taken or none.

    Attributes:
        full: The place of the first of which there was none left; `TAKEN` if all are taken.
        alone: Whether this process alone has decided, though others share the slots.
    """

    full: int = TAKEN
    alone: bool = False


ALL: Final = Taken()


class Slots:
    """Counts of those who have any. The lock makes a decision one step for threads."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, slots: Sequence[Slot]) -> Taken:
        """Take all *slots*, no two of one holder, or none."""
        used = self._used
        with self._lock:
            for place, (holder, most) in enumerate(slots):
                if used.get(holder, 0) >= most:
                    return Taken(place)
            for holder, _ in slots:
                used[holder] = used.get(holder, 0) + 1
        return ALL

    def give_back(self, holders: Sequence[str]) -> None:
        """Give back one slot of each of *holders*."""
        with self._lock:
            for holder in holders:
                left = self._used.pop(holder) - 1
                if left:
                    self._used[holder] = left

    def used(self, holder: str) -> int:
        """Slots of *holder* that are taken."""
        return self._used.get(holder, 0)
