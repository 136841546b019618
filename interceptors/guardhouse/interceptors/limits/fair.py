"""Whose turn it is, where more calls want a model than it takes. Pure: no clock, no lock.

Virtual counters, as in "Fairness in Serving Large Language Models" (OSDI 2024): each principal has one that
grows by cost / weight. The one goes next whose counter would be the smallest after its call; the paper has it
before, and so makes a heavy weight wait as long as a light one. Who comes back from idleness starts no lower
than those who did not rest. Costs are microseconds in the model; a decision is O(log n) in the principals.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from .lazy_heap import LazyHeap

LEVELS: Final = 3  # priorities: 0 low, 1 normal, 2 high
FINE: Final = 1000  # parts of a microsecond in a counter, for weights up to that
MOST_RESTING: Final = 4096  # principals with nothing here, whose counters are ahead of the others


class Caller(NamedTuple):
    """Who asks: *weight* is 1 to 1000, *priority* 0 to 2."""

    who: Hashable
    weight: int = 1
    priority: int = 1


class Flow:
    """What one principal has here, at one priority. Of those who wait, calls that had begun go first."""

    __slots__ = ("begun", "counter", "fresh", "running", "weight")

    def __init__(self, counter: int) -> None:
        self.counter, self.weight, self.running = counter, 1, 0
        self.begun: dict[Ticket, None] = {}
        self.fresh: dict[Ticket, None] = {}

    def waits(self) -> bool:
        """Whether any of its calls does."""
        return bool(self.begun or self.fresh)


class Ticket:
    """One call that waits, or runs. *size*: the bytes it keeps; *cost*: what it is charged ahead."""

    __slots__ = ("begun", "caller", "cost", "data", "size")

    def __init__(
        self, caller: Caller, size: int, cost: int, data: Any = None, *, begun: bool = False
    ) -> None:
        self.caller, self.size, self.cost, self.data, self.begun = caller, size, cost, data, begun


class Level:
    """The principals of one priority."""

    def __init__(self) -> None:
        self.flows: dict[Hashable, Flow] = {}
        self.waiting = 0
        self.weight = 0  # of all who wait
        self.reached = 0  # nobody joins below
        self._highest = 0
        self._next: LazyHeap[Flow] = LazyHeap()
        self.heaviest: LazyHeap[Flow] = LazyHeap(newest_first=True)
        self._resting: LazyHeap[Hashable] = LazyHeap()

    def join(self, ticket: Ticket) -> None:
        """Have it wait."""
        caller = ticket.caller
        flow = self._flow(caller)
        if not flow.waits():
            flow.counter = max(flow.counter, self.reached)
            flow.weight = caller.weight
            self.weight += flow.weight
        (flow.begun if ticket.begun else flow.fresh)[ticket] = None
        self.waiting += 1
        self._place(caller.who, flow)

    def leave(self, ticket: Ticket) -> bool:
        """Have it wait no more; False if it did not."""
        flow = self.flows.get(ticket.caller.who)
        if flow is None:
            return False
        waiting = flow.begun if ticket.begun else flow.fresh
        if ticket not in waiting:
            return False
        del waiting[ticket]
        self.waiting -= 1
        if not flow.waits():
            self.weight -= flow.weight
        self._place(ticket.caller.who, flow)
        return True

    def next(self) -> Ticket | None:
        """The one whose turn it is; charged, and waiting no more."""
        flow = self._next.first()
        if flow is None:
            return None
        ticket = next(iter(flow.begun or flow.fresh))
        self.reached = max(self.reached, flow.counter)
        flow.running += 1
        self.leave(ticket)
        self.charge(ticket.caller, ticket.cost)
        return ticket

    def ended(self, ticket: Ticket, cost: int) -> None:
        """It has ended, and took *cost*."""
        flow = self.flows[ticket.caller.who]
        flow.running -= 1
        self.charge(ticket.caller, cost - ticket.cost)

    def charge(self, caller: Caller, cost: int) -> None:
        """Have *caller* pay, and forget whoever need not be known."""
        flow = self._flow(caller)
        flow.counter += cost * FINE // caller.weight
        self._highest = max(self._highest, flow.counter)
        self._place(caller.who, flow)
        while (who := self._resting.first()) is not None:
            counter = self.flows[who].counter
            if counter > self.reached and len(self._resting) <= MOST_RESTING:
                return
            self.reached = max(self.reached, counter)
            self._forget(who)

    def rest(self) -> None:
        """Nobody waits: all are equal from here."""
        self.reached = self._highest = max(self.reached, self._highest)
        while (who := self._resting.first()) is not None:
            self._forget(who)

    def _flow(self, caller: Caller) -> Flow:
        flow = self.flows.get(caller.who)
        if flow is None:
            flow = self.flows[caller.who] = Flow(self.reached)
        return flow

    def _forget(self, who: Hashable) -> None:
        self._resting.drop(who)
        del self.flows[who]

    def _place(self, who: Hashable, flow: Flow) -> None:
        """Put *flow* where it belongs now."""
        if flow.waits():
            head = next(iter(flow.begun or flow.fresh))
            self._next.put(flow, flow.counter + head.cost * FINE // flow.weight)
        else:
            self._next.drop(flow)
        if flow.fresh:
            self.heaviest.put(flow, -(len(flow.fresh) * FINE // flow.weight))
        else:
            self.heaviest.drop(flow)
        if flow.waits() or flow.running:
            self._resting.drop(who)
        else:
            self._resting.put(who, flow.counter)
