"""The first of many by a number that changes."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
SPARE = 64  # outdated entries that are not worth clearing


class LazyHeap(Generic[T]):
    """Items by key, lowest first; of equal keys the one put first, or last if *newest_first*.

    An item that moves leaves its old entry behind, to be passed over: O(log n) each, amortized.
    """

    __slots__ = ("_entries", "_keys", "_step", "_turn")

    def __init__(self, *, newest_first: bool = False) -> None:
        self._entries: list[tuple[int, int, T]] = []
        self._keys: dict[T, tuple[int, int]] = {}
        self._turn, self._step = 0, -1 if newest_first else 1

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, item: T, key: int) -> None:
        """Have *item* at *key*, wherever it was."""
        known = self._keys.get(item)
        if known is not None and known[0] == key:
            return
        self._turn += self._step
        self._keys[item] = key, self._turn
        heappush(self._entries, (key, self._turn, item))
        if len(self._entries) > 2 * len(self._keys) + SPARE:
            self._entries = [(*at, each) for each, at in self._keys.items()]
            heapify(self._entries)

    def drop(self, item: T) -> None:
        """Forget *item*, if it is here."""
        self._keys.pop(item, None)

    def first(self) -> T | None:
        """The item with the lowest key; None if there is none."""
        while self._entries:
            *at, item = self._entries[0]
            if self._keys.get(item) == tuple(at):
                return item
            heappop(self._entries)
        return None
