"""So many calls at the same time. A slot is free again when the work has really stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, cast

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import work_of

from .rules import SlotRule
from .scopes import MINE, holder, note_alone, note_shadow, tries, values, who
from .shared_slots import SharedSlots
from .slots import TAKEN, Slot, Slots, Taken

RETRY_AFTER: Final = 0.1  # seconds; nobody knows when a call will end
Together = Sequence[SlotRule]
Try = tuple[Together, Sequence[Slot]]


class Concurrency(Guard):
    """Gives each call one slot of every limit at its first message, or refuses it if one has none left.

    A stream has one slot, however many messages it carries; of a limit that tells models apart, one for each
    model that it has asked.

    Args:
        general: The limits that count everybody, for calls of callers who need no role.
        kept: Where slots are counted; in memory if None.
        free: Paths of methods that need no slot.
    """

    stage = Stage.BUDGET

    def __init__(
        self,
        general: Iterable[SlotRule] = (),
        kept: Slots | SharedSlots | None = None,
        free: Collection[str] = FREE,
    ) -> None:
        self._general, self._free = tries(general), free
        self._kept = kept or Slots()
        self._slots: Bounded[tuple[SlotRule, object], Slot] = Bounded(8192)
        self._holding: dict[Call, list[str]] = {}

    def inspect(self, call: Call, request: Any) -> None:
        """Take a slot, unless the call has one or needs none."""
        if call.method in self._free:
            return
        tried: Sequence[Together] = self._general if call.grant is None else call.grant.slot_tries
        if tried and (held := self._holding.get(call)) is not None:
            tried = self._lacking(call, tried, held)
        for place, rules in enumerate(tried):
            slots = [self._slot(call, rule) for rule in rules]
            taken = self._kept.take(slots)
            if taken is None:
                rest = [(each, [self._slot(call, rule) for rule in each]) for each in tried[place:]]
                raise Later(partial(self._fetch, call, rest))
            self._apply(call, rules, slots, taken)

    def left(self, call: Call, rule: SlotRule) -> int:
        """Calls that would get a slot of *rule* now, as far as is known here."""
        return max(0, rule.most - self._kept.used(self._slot(call, rule).holder))

    def _lacking(self, call: Call, tried: Sequence[Together], held: Collection[str]) -> Sequence[Together]:
        """What a further message of a stream is tried by: limits of a model that it has not asked before."""
        found = [
            [rule for rule in rules if "model" in rule.per and self._slot(call, rule).holder not in held]
            for rules in tried
        ]
        return [rules for rules in found if rules]

    def _slot(self, call: Call, rule: SlotRule) -> Slot:
        """The slot of *rule* that *call* needs."""
        key = rule, call.principal if rule.per == MINE else who(rule, call)  # a call less: it is asked often
        slot = self._slots.get(key)
        if slot is None:
            slot = Slot(holder(rule, "slots", values(rule, call)), rule.most)
            self._slots.put(key, slot)
        return slot

    def _fetch(self, call: Call, tried: Iterable[Try]) -> None:
        """The same, where a store must be asked. Blocks."""
        for rules, slots in tried:
            self._apply(call, rules, slots, cast("SharedSlots", self._kept).fetch(slots))

    def _apply(self, call: Call, rules: Sequence[SlotRule], slots: Sequence[Slot], taken: Taken) -> None:
        """Do as was found: hold the slots, refuse, or tell in shadow."""
        full, alone = taken
        if alone:
            note_alone(call, *(rule.name for rule in rules))
        if full == TAKEN:
            self._hold(call, [holder for holder, _ in slots])
        elif rules[full].shadow:
            note_shadow(call, rules[full].name)
        else:
            rule = rules[full]
            note = f"{rule.name}: {rule.most} at once"
            limit = "concurrency" if rule.per == ("principal",) else rule.name
            raise Refusal("CONCURRENCY_LIMITED", note, retry_after=RETRY_AFTER, limit=limit)

    def _hold(self, call: Call, holders: list[str]) -> None:
        held = self._holding.get(call)
        self._holding[call] = holders if held is None else [*held, *holders]
        work_of(call).when_over(partial(self._give_back, call, holders))  # at once, if that has been
        if call.closed:  # settled meanwhile by another thread
            raise Refusal("CANCELLED", "the call has ended")

    def _give_back(self, call: Call, holders: list[str]) -> None:
        self._holding.pop(call, None)
        self._kept.give_back(holders)
