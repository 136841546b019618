"""So many calls at the same time. A slot is free again when the work has really stopped."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.work import work_of

from .rules import SlotRule
from .scopes import Holders, note_shadow

RETRY_AFTER: Final = 0.1  # seconds; nobody knows when a call will end


class Concurrency(Guard):
    """Gives each call one slot of every limit at its first message, or refuses it if one has none left.

    A stream has one slot, however many messages it carries. The lock makes a decision one step for threads.

    Args:
        general: The limits that count everybody, for calls of callers who need no role.
        free: Paths of methods that need no slot.
    """

    stage = Stage.BUDGET

    def __init__(self, general: Iterable[SlotRule] = (), free: Collection[str] = FREE) -> None:
        self._general, self._free = tuple(general), free
        self._holders = Holders()
        self._taken: dict[str, int] = {}  # of those who have any
        self._holding: dict[Call, list[str]] = {}
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Take a slot, unless the call has one or needs none."""
        rules = self.counting(call)
        if rules and call not in self._holding:
            self._take(call, rules)
            work_of(call).when_over(partial(self._give_back, call))
            if call.closed:  # settled meanwhile by another thread
                raise Refusal("CANCELLED", "the call has ended")

    def counting(self, call: Call) -> Sequence[SlotRule]:
        """The limits that count *call*."""
        if call.method in self._free:
            return ()
        return self._general if call.grant is None else call.grant.slots

    def left(self, call: Call, rule: SlotRule) -> int:
        """Calls that would get a slot of *rule* now."""
        return max(0, rule.most - self._taken.get(self._holders.of(rule, "slots", call), 0))

    def _take(self, call: Call, rules: Sequence[SlotRule]) -> None:
        named = [(self._holders.of(rule, "slots", call), rule) for rule in rules]
        with self._lock:
            full = [(name, rule) for name, rule in named if self._taken.get(name, 0) >= rule.most]
            for _, rule in full:
                if not rule.shadow:
                    note = f"{rule.name}: {rule.most} at once"
                    limit = "concurrency" if rule.per == ("principal",) else rule.name
                    raise Refusal("CONCURRENCY_LIMITED", note, retry_after=RETRY_AFTER, limit=limit)
                note_shadow(call, rule.name)
            names = [name for name, _ in named]
            for name in names:  # in shadow too: what is over the limit is counted
                self._taken[name] = self._taken.get(name, 0) + 1
            self._holding[call] = names

    def _give_back(self, call: Call) -> None:
        with self._lock:
            for name in self._holding.pop(call, ()):
                taken = self._taken.pop(name) - 1
                if taken:
                    self._taken[name] = taken
