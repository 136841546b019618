"""Sheds load before memory and latency run away: who may enter, who waits for the model, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import work_of

from .fair import Caller, Ticket
from .lane import Lane

SOONEST: Final = 0.1  # seconds: what a refused caller is told to wait at least, and at most
LATEST: Final = 60.0


def _never(_model: str, _version: str) -> bool:
    return False


class Capacity(NamedTuple):
    """What a server takes at once. A queue keeps at most *waiting* calls, and *memory* bytes of messages.

    Attributes:
        threads: Calls of blocking models that run at once.
        blocks: Whether the model of that name and version blocks.
        others: Calls of other models that run at once.
        waiting: Calls that may wait for their turn.
        wait: Seconds that one may wait. Fairness does not rest on it: it bounds what nobody waits for.
        calls: Calls under way at once, waiting ones and open streams among them.
        memory: Bytes of request messages that wait.
    """

    threads: int = 1
    blocks: Callable[[str, str], bool] = _never
    others: int = 256
    waiting: int = 512
    wait: float = 10.0
    calls: int = 1024
    memory: int = 64 << 20


class Seat:
    """A call in the model, since when, and who tells that it has left: its work, or its end."""

    __slots__ = ("caller", "lane", "since", "ticket", "watched")

    def __init__(self, lane: Lane, caller: Caller, since: float, ticket: Ticket | None) -> None:
        self.lane, self.caller, self.since, self.ticket = lane, caller, since, ticket
        self.watched = False


class Admission(Guard):
    """Lets calls to the model as it has room, by priority and fairly; the rest wait, or are refused.

    A stream gives its place up while the service waits for its caller.

    Args:
        capacity: What there is room for.
        free: Paths of methods that ask nothing of a model: never kept waiting, never refused.
        clock: Monotonic seconds.
    """

    stage = Stage.ADMISSION

    def __init__(
        self,
        capacity: Capacity = Capacity(),  # noqa: B008 - a value
        free: Collection[str] = FREE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity, self._free, self._clock = capacity, free, clock
        self._blocking = Lane(capacity.threads, capacity.waiting, capacity.memory)
        self._others = Lane(capacity.others, capacity.waiting, capacity.memory)
        self._means: Bounded[str, int] = Bounded(1024)  # microseconds of a call, by model
        self._lock = threading.Lock()
        self._under_way: dict[Call, Hashable] = {}
        self._by_caller: dict[Hashable, int] = {}
        self._seats: dict[Call, Seat] = {}
        self._tickets: dict[Call, Ticket] = {}
        self._paused: dict[Call, Lane] = {}

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._blocking.waiting + self._others.waiting

    def admit(self, call: Call) -> None:
        """Refuse a call that there is no room for, before its message is received."""
        if call.method in self._free:
            return
        who = _who(call)
        with self._lock:
            own = self._by_caller.get(who, 0)
            if not self._has_room(own) or self._is_crowded(call):
                self._refuse("no room for another call", self._blocking)
            self._under_way[call] = who
            self._by_caller[who] = own + 1

    def inspect(self, call: Call, request: Any) -> None:
        """Let it go to its model, or have it wait."""
        if call.method in self._free or call in self._seats:
            return
        lane = self._lane(call)
        with self._lock:
            if lane.take():
                seat = self._seats[call] = Seat(lane, _caller(call), self._clock(), None)
            else:
                self._wait(call, lane, begun=False)
        self._watch(call, seat)

    def pause(self, call: Call) -> None:
        """The service waits for its caller: others may have the place. Not a thread's, which cannot stop."""
        seat = self._seats.get(call)
        if seat is not None and seat.lane is self._others:
            with self._lock:
                self._paused[call] = seat.lane
            self._leave(call)

    def resume(self, call: Call) -> None:
        """It goes on: when it is its turn."""
        if call not in self._paused:
            return
        with self._lock:
            lane = self._paused.pop(call)
            if lane.take():
                self._seats[call] = Seat(lane, _caller(call), self._clock(), None)
            else:
                self._wait(call, lane, begun=True)

    def settle(self, call: Call) -> None:
        """Give back whatever it has; what works on for it keeps its place."""
        with self._lock:
            if call in self._under_way:
                self._count_out(self._under_way.pop(call))
            self._paused.pop(call, None)
            ticket = self._tickets.pop(call, None)
            if ticket is not None:
                self._lane(call).leave(ticket)
            seat = self._seats.get(call)
        if ticket is not None:
            ticket.data[1].cancel()
        if seat is not None and not seat.watched:
            self._leave(call)

    def _has_room(self, own: int) -> bool:
        """Whether one who has *own* calls under way may have another: from half on, up to its share."""
        most, there = self._capacity.calls, len(self._under_way)
        return there < most and (there < most // 2 or own * (len(self._by_caller) + 1) < most)

    def _is_crowded(self, call: Call) -> bool:
        """Whether it would only be turned away from the queue; its model, and so its queue, is not known."""
        caller = _caller(call)
        lanes = [lane for lane in (self._blocking, self._others) if lane.waiting]
        return bool(lanes) and any(lane.has_its_share(caller) for lane in lanes)

    def _count_out(self, who: Hashable) -> None:
        left = self._by_caller.pop(who) - 1
        if left:
            self._by_caller[who] = left

    def _lane(self, call: Call) -> Lane:
        return self._blocking if self._capacity.blocks(call.model, call.version) else self._others

    def _watch(self, call: Call, seat: Seat) -> None:
        """See that the place is given back: of what blocks, when its work has really stopped."""
        if seat.lane is self._blocking:
            seat.watched = True
            work_of(call).when_over(partial(self._leave, call))
        if call.closed:  # settled meanwhile by another thread
            if not seat.watched:
                self._leave(call)
            raise Refusal("CANCELLED", "the call has ended")

    def _wait(self, call: Call, lane: Lane, *, begun: bool) -> NoReturn:
        """Put it in the queue; whoever has no room there any more is told. Under the lock."""
        caller, left = _caller(call), _left(call)
        if not begun and left is not None and lane.expected(caller) > left * 1e6:
            self._refuse("its turn would come after its deadline", lane)
        turn: Future[None] = Future()
        cost = self._means.get(call.model) or lane.mean
        ticket = Ticket(caller, len(call.raw), cost, (call, turn), begun=begun)
        shed = lane.join(ticket)
        if ticket in shed:
            self._refuse("no room in the queue", lane)
        self._tickets[call] = ticket
        for other in shed:
            self._tickets.pop(other.data[0], None)
            other.data[1].cancel()
        longest = None if begun else self._capacity.wait
        within = min((each for each in (left, longest) if each is not None), default=None)
        raise Later(partial(self._came, call, lane, ticket, self._clock()), turn=turn, within=within)

    def _came(self, call: Call, lane: Lane, ticket: Ticket, since: float) -> None:
        """Its turn, or the end of its waiting."""
        call.queue_ns += int((self._clock() - since) * 1e9)
        with self._lock:
            seat = self._seats.get(call)
            if seat is None:
                self._tickets.pop(call, None)
                lane.leave(ticket)
                if call.closed:
                    raise Refusal("CANCELLED", "the call has ended")
                if (left := _left(call)) is not None and left <= 0:
                    raise Refusal("DEADLINE_EXCEEDED", "while it waited for its turn")
                self._refuse("it waited too long, or had to make room", lane)
        self._watch(call, seat)

    def _leave(self, call: Call) -> None:
        """It has left its model: others may go."""
        with self._lock:
            seat = self._seats.pop(call, None)
            if seat is None:
                return
            cost = max(0, int((self._clock() - seat.since) * 1e6))
            mean = self._means.get(call.model)
            self._means.put(call.model, cost if mean is None else mean + (cost - mean) // 8)
            seat.lane.ended(seat.caller, seat.ticket, cost)
            called = list(self._called(seat.lane))
        for turn in called:
            if turn.set_running_or_notify_cancel():
                turn.set_result(None)

    def _called(self, lane: Lane) -> Iterable[Future[None]]:
        """The turns of those who go next: each has its place."""
        while (ticket := lane.next()) is not None:
            call, turn = ticket.data
            del self._tickets[call]
            self._seats[call] = Seat(lane, ticket.caller, self._clock(), ticket)
            yield turn

    def _refuse(self, note: str, lane: Lane) -> NoReturn:
        after = lane.waiting * lane.mean / lane.slots / 1e6
        retry_after = min(max(after, SOONEST), LATEST)
        raise Refusal("OVERLOADED", note, retry_after=retry_after, limit="capacity")


def _who(call: Call) -> Hashable:
    return call.principal.issuer, call.principal.name


def _caller(call: Call) -> Caller:
    grant = call.grant
    if grant is None:
        return Caller(_who(call), 1, 0)
    return Caller(_who(call), grant.weight, grant.priority)


def _left(call: Call) -> float | None:
    """Seconds that *call* has left of what its caller and we give it; None for no end."""
    given = [each for each in (call.remaining, call.patience) if each is not None]
    if not given:
        return None
    return min(given) - (time.monotonic_ns() - call.opened_ns) * 1e-9
