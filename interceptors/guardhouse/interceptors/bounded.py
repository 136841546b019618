"""A dictionary that never grows beyond a size: the oldest entry makes room."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """First in, first out. Only for what can be worked out again: caches, never limits.

    Safe to share between threads: what is read is one dictionary operation, and what makes room tries again
    where another thread made some at the same moment.
    """

    __slots__ = ("_items", "_size", "get")

    def __init__(self, size: int) -> None:
        # A dict that is emptied from its front looks through all that has gone, each time.
        self._items: OrderedDict[K, V] = OrderedDict()
        self._size = size
        self.get = self._items.get

    def put(self, key: K, value: V) -> None:
        """Keep *value*; drop the oldest entry if there are now more than the size."""
        self._items[key] = value
        while len(self._items) > self._size:
            with suppress(KeyError):  # another thread made room at the same moment
                self._items.popitem(last=False)

    def discard(self, key: K) -> None:
        """Forget *key*, if it is there."""
        self._items.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)
