"""Sheds load before memory and latency run away: who may enter, who waits for the model, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NoReturn, cast

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import work_of

from .fair import Caller
from .lane import Lane
from .places import Capacity, Seat, Turn

SOONEST: Final = 0.1  # seconds: what a refused caller is told to wait at least, and at most
LATEST: Final = 60.0
MOST_MODELS: Final = 1024  # whose time is known


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
        self._crowd = capacity.calls // 2  # from here on, nobody has more than an equal share
        self._blocking = Lane(capacity.threads, capacity.waiting, capacity.memory)
        self._others = Lane(capacity.others, capacity.waiting, capacity.memory)
        self._means: dict[str, int] = {}  # microseconds of a call, by model
        self._lock = threading.Lock()
        self._under_way: dict[Call, Hashable] = {}
        self._by_caller: dict[Hashable, int] = {}
        self._seats: dict[Call, Seat] = {}
        self._tickets: dict[Call, Turn] = {}
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
            many = len(self._under_way) >= self._crowd and not self._has_room(own)
            if many or (self.waiting and self._is_crowded(call)):
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
                seat = self._seats[call] = Seat(lane, self._clock())
            else:
                self._wait(call, lane, begun=False)
        if lane is self._blocking or call.closed:
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
                self._seats[call] = Seat(lane, self._clock())
            else:
                self._wait(call, lane, begun=True)

    def settle(self, call: Call) -> None:
        """Give back whatever it has; what works on for it keeps its place."""
        with self._lock:
            if call in self._under_way:
                self._count_out(self._under_way.pop(call))
            if call in self._paused:
                del self._paused[call]
            if call in self._tickets:
                ticket = self._tickets.pop(call)
                ticket.lane.leave(ticket)
                ticket.turn.cancel()
            seat = self._seats.get(call)
            going = () if seat is None or seat.watched else self._left(call, seat)
        _tell(going)

    def _has_room(self, own: int) -> bool:
        """Whether one who has *own* calls under way may have another, if that is up to its share."""
        most = self._capacity.calls
        return len(self._under_way) < most and own * (len(self._by_caller) + 1) < most

    def _is_crowded(self, call: Call) -> bool:
        """Whether it would only be turned away from the queue; its model, and so its queue, is not known."""
        caller = _caller(call)
        return self._blocking.has_its_share(caller) or self._others.has_its_share(caller)

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
        caller, left = _caller(call), _time_left(call)
        if not begun and left is not None and lane.expected(caller) > left * 1e6:
            self._refuse("its turn would come after its deadline", lane)
        turn: Future[None] = Future()
        cost = self._means.get(call.model) or lane.mean
        ticket = Turn(caller, len(call.raw), cost, begun, call, lane, turn)
        shed = lane.join(ticket)
        if ticket in shed:
            self._refuse("no room in the queue", lane)
        self._tickets[call] = ticket
        for other in cast("list[Turn]", shed):
            self._tickets.pop(other.call, None)
            other.turn.cancel()
        longest = None if begun else self._capacity.wait
        within = min((each for each in (left, longest) if each is not None), default=None)
        raise Later(partial(self._came, ticket, self._clock()), turn=turn, within=within)

    def _came(self, ticket: Turn, since: float) -> None:
        """Its turn, or the end of its waiting."""
        call, lane = ticket.call, ticket.lane
        call.queue_ns += int((self._clock() - since) * 1e9)
        with self._lock:
            seat = self._seats.get(call)
            if seat is None:
                self._tickets.pop(call, None)
                lane.leave(ticket)
                if call.closed:
                    raise Refusal("CANCELLED", "the call has ended")
                if (left := _time_left(call)) is not None and left <= 0:
                    raise Refusal("DEADLINE_EXCEEDED", "while it waited for its turn")
                self._refuse("it waited too long, or had to make room", lane)
        self._watch(call, seat)

    def _leave(self, call: Call) -> None:
        """It has left its model: others may go."""
        with self._lock:
            seat = self._seats.get(call)
            going = () if seat is None else self._left(call, seat)
        _tell(going)

    def _left(self, call: Call, seat: Seat) -> Collection[Turn]:
        """Give its place back, and places to those who go next. Under the lock."""
        del self._seats[call]
        lane = seat.lane
        cost = max(0, int((self._clock() - seat.since) * 1e6))
        self._learn(call.model, cost)
        lane.ended(_caller(call) if lane.waiting else None, seat.ticket, cost)
        going: list[Turn] = []
        while lane.waiting and (ticket := lane.next()) is not None:
            turn = cast("Turn", ticket)
            del self._tickets[turn.call]
            self._seats[turn.call] = Seat(lane, self._clock(), turn)
            going.append(turn)
        return going

    def _learn(self, model: str, cost: int) -> None:
        mean = self._means.get(model)
        if mean is not None:
            self._means[model] = mean + (cost - mean) // 8
        elif len(self._means) < MOST_MODELS:
            self._means[model] = cost

    def _refuse(self, note: str, lane: Lane) -> NoReturn:
        after = lane.waiting * lane.mean / lane.slots / 1e6
        retry_after = min(max(after, SOONEST), LATEST)
        raise Refusal("OVERLOADED", note, retry_after=retry_after, limit="capacity")


def _tell(going: Iterable[Turn]) -> None:
    """Those who go next. Not under the lock: whatever waits for a turn runs here."""
    for each in going:
        if each.turn.set_running_or_notify_cancel():
            each.turn.set_result(None)


def _who(call: Call) -> Hashable:
    return call.principal.issuer, call.principal.name


def _caller(call: Call) -> Caller:
    grant = call.grant
    if grant is None:
        return Caller(_who(call), 1, 0)
    return Caller(_who(call), grant.weight, grant.priority)


def _time_left(call: Call) -> float | None:
    """Seconds that *call* has left of what its caller and we give it; None for no end."""
    given = [each for each in (call.remaining, call.patience) if each is not None]
    if not given:
        return None
    return min(given) - (time.monotonic_ns() - call.opened_ns) * 1e-9
