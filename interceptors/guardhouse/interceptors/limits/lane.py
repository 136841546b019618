"""So many calls in the model at once, and a queue of bounded size for the others. Pure: no clock, no lock."""

from __future__ import annotations

from .fair import LEVELS, Caller, Level, Ticket


class Lane:
    """So many calls in the model at once, and a queue for the others.

    Args:
        slots: How many at once.
        most: Calls that may wait.
        most_bytes: Bytes that they may keep in memory.
    """

    def __init__(self, slots: int, most: int, most_bytes: int) -> None:
        self.slots = self.free = slots
        self._most, self._most_bytes = most, most_bytes
        self.waiting = 0
        self.bytes = 0
        self.fresh = 0
        self.mean = 0  # microseconds of a call, lately
        self._levels = tuple(Level() for _ in range(LEVELS))

    def take(self) -> bool:
        """A slot at once, where one is free and nobody waits for it."""
        if self.waiting or self.free <= 0:
            return False
        self.free -= 1
        return True

    def join(self, ticket: Ticket) -> list[Ticket]:
        """Have it wait; returns who has no room any more: maybe itself.

        The lowest priority first; in it, the newest call of whoever has most waiting for its weight. A call
        that had begun keeps its room.
        """
        self._levels[ticket.caller.priority].join(ticket)
        self._count(ticket, 1)
        shed = []
        while self.fresh > self._most or self.bytes > self._most_bytes:
            level = next(level for level in self._levels if len(level.heaviest))
            flow = level.heaviest.first()
            victim = next(reversed(flow.fresh))  # type: ignore[union-attr] # it is not empty
            self.leave(victim)
            shed.append(victim)
        return shed

    def leave(self, ticket: Ticket) -> None:
        """Have it wait no more, if it does."""
        if self._levels[ticket.caller.priority].leave(ticket):
            self._count(ticket, -1)
            self._rest()

    def next(self) -> Ticket | None:
        """Whose turn it is, if a slot is free: the slot is its."""
        if self.free <= 0 or not self.waiting:
            return None
        for level in reversed(self._levels):
            if (ticket := level.next()) is not None:
                self.free -= 1
                self._count(ticket, -1)
                return ticket
        raise AssertionError("somebody waits, and nobody is next")

    def ended(self, caller: Caller | None, ticket: Ticket | None, cost: int) -> None:
        """A call has given its slot back after *cost*. *ticket* is what it waited with, if it had to; of one
        that had not, *caller* need only be known while others wait."""
        self.free += 1
        self.mean += (cost - self.mean) // 8 if self.mean else cost
        if ticket is not None:
            self._levels[ticket.caller.priority].ended(ticket, cost)
            self._rest()
        elif self.waiting and caller is not None:
            self._levels[caller.priority].charge(caller, cost)

    def declined(self, ticket: Ticket) -> None:
        """Whose turn it was did not want it any more: it pays nothing."""
        self.free += 1
        self._levels[ticket.caller.priority].ended(ticket, 0)
        self._rest()

    def expected(self, caller: Caller) -> int:
        """Microseconds that one more call of *caller* would wait, as far as can be told."""
        level = self._levels[caller.priority]
        flow = level.flows.get(caller.who)
        own = 1 + (len(flow.fresh) + len(flow.begun) if flow is not None else 0)
        everybody = level.weight + (0 if flow is not None and flow.waits() else caller.weight)
        ahead = min(level.waiting, own * everybody // caller.weight)
        ahead += sum(higher.waiting for higher in self._levels[caller.priority + 1 :])
        return (ahead + 1) * self.mean // self.slots

    def has_its_share(self, caller: Caller) -> bool:
        """Whether the queue is full, and *caller* would be the one to make room."""
        if self.fresh < self._most or any(level.waiting for level in self._levels[: caller.priority]):
            return False
        level = self._levels[caller.priority]
        flow = level.flows.get(caller.who)
        return flow is not None and len(flow.fresh) * level.weight >= level.waiting * flow.weight

    def known(self) -> int:
        """Principals that are kept in memory."""
        return sum(len(level.flows) for level in self._levels)

    def _count(self, ticket: Ticket, by: int) -> None:
        self.waiting += by
        if not ticket.begun:
            self.fresh += by
            self.bytes += by * ticket.size

    def _rest(self) -> None:
        if not self.waiting:
            for level in self._levels:
                level.rest()
