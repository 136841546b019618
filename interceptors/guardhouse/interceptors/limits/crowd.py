"""Calls under way, so many at once, none of them hoarded. Pure: no clock, no lock."""

from __future__ import annotations

from collections.abc import Hashable

from guardhouse.interceptors.call import Call


class Crowd:
    """Calls under way, at most *most*.

    A caller may have as many as there is still room for: alone half of all, of n who want all each an
    equal share of n + 1, so that whoever comes finds room. The dynamic threshold of Choudhury and Hahne,
    "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches" (1998).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: dict[Call, Hashable] = {}
        self._by_caller: dict[Hashable, int] = {}

    def enter(self, call: Call, who: Hashable) -> bool:
        """Count *call* in; False if there is no room for another of *who*."""
        own = self._by_caller.get(who, 0)
        if own >= self._most - len(self._calls):
            return False
        self._calls[call] = who
        self._by_caller[who] = own + 1
        return True

    def leave(self, call: Call) -> None:
        """Count *call* out, if it is in."""
        who = self._calls.pop(call, None)
        if who is None:
            return
        left = self._by_caller[who] - 1
        if left:
            self._by_caller[who] = left
        else:
            del self._by_caller[who]

    def __len__(self) -> int:
        return len(self._calls)
