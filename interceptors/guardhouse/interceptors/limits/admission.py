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

from .crowd import Crowd
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
        self._free, self._clock = free, clock
        self._blocks, self._longest = capacity.blocks, capacity.wait
        self._blocking = Lane(capacity.threads, capacity.waiting, capacity.memory)
        self._others = Lane(capacity.others, capacity.waiting, capacity.memory)
        self._means: dict[str, int] = {}  # microseconds of a call, by model
        self._lock = threading.Lock()
        self._crowd = Crowd(capacity.calls)
        # A call is in one of these at most, whatever tasks or threads of its service work for it.
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
        with self._lock:
            if (self.waiting and self._is_crowded(call)) or not self._crowd.enter(call, _who(call)):
                self._refuse("no room for another call", self._blocking)

    def inspect(self, call: Call, request: Any) -> None:
        """Let it go to its model, or have it wait. What has asked a model that blocks stays with those."""
        if call.method in self._free:
            return
        lane = self._blocking if self._blocks(call.model, call.version) else self._others
        seat = self._seats.get(call)
        if seat is not None and (seat[0] is lane or seat[0] is self._blocking):
            return
        if lane is self._blocking:  # in a thread: its place is free when its work has really stopped
            work_of(call).when_over(partial(self._leave, call))
        if seat is not None:
            self._leave(call)
        with self._lock:
            if not self._tickets and not self._paused and lane.take():  # as a rule
                self._seats[call] = (lane, self._clock(), None)
            else:
                self._take(call, lane, begun=seat is not None)
        if call.closed:  # settled meanwhile by another thread
            self._leave(call)
            raise Refusal("CANCELLED", "the call has ended")

    def pause(self, call: Call) -> None:
        """The service waits for its caller: others may have the place. Not a thread's, which cannot stop."""
        if call not in self._seats:
            return
        going: Collection[Turn] = ()
        with self._lock:
            seat = self._seats.get(call)
            if seat is not None and seat[0] is self._others:
                going = self._left(call, seat)
                self._paused[call] = self._others
        _tell(going)

    def resume(self, call: Call) -> None:
        """It goes on: when it is its turn."""
        if call not in self._paused and call not in self._tickets:
            return
        with self._lock:
            lane = self._paused.get(call)
            if lane is not None or call in self._tickets:
                self._take(call, lane or self._others, begun=True)

    def settle(self, call: Call) -> None:
        """Give back whatever it has; what works on for it keeps its place."""
        going: Collection[Turn] = ()
        with self._lock:
            self._crowd.leave(call)
            if (seat := self._seats.get(call)) is not None:
                if seat[0] is self._others:
                    going = self._left(call, seat)
            elif call in self._paused:
                del self._paused[call]
            elif call in self._tickets:
                ticket = self._tickets.pop(call)
                ticket.lane.leave(ticket)
                ticket.turn.cancel()
        if going:
            _tell(going)

    def _is_crowded(self, call: Call) -> bool:
        """Whether it would only be turned away from the queue; its model, and so its queue, is not known."""
        caller = _caller(call)
        return self._blocking.has_its_share(caller) or self._others.has_its_share(caller)

    def _take(self, call: Call, lane: Lane, *, begun: bool) -> None:
        """Give it a place, or have it wait: for its turn, if it waits for one already. Under the lock."""
        if (ticket := self._tickets.get(call)) is not None:
            raise Later(partial(self._came, ticket, self._clock()), turn=ticket.turn, within=_time_left(call))
        self._paused.pop(call, None)
        if lane.take():
            self._seats[call] = (lane, self._clock(), None)
        else:
            self._wait(call, lane, begun=begun)

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
            del self._tickets[other.call]
            other.turn.cancel()
        longest = None if begun else self._longest
        within = min((each for each in (left, longest) if each is not None), default=None)
        raise Later(partial(self._came, ticket, self._clock()), turn=turn, within=within)

    def _came(self, ticket: Turn, since: float) -> None:
        """Its turn, or the end of its waiting."""
        call, lane = ticket.call, ticket.lane
        call.queue_ns += int((self._clock() - since) * 1e9)
        if ticket.turn.cancelled():
            with self._lock:
                self._gave_up(ticket)
                if not call.closed and (left := _time_left(call)) is not None and left <= 0:
                    raise Refusal("DEADLINE_EXCEEDED", "while it waited for its turn")
                if not call.closed:
                    self._refuse("it waited too long, or had to make room", lane)
        if call.closed:  # maybe before it took its turn
            self._leave(call)
            raise Refusal("CANCELLED", "the call has ended")

    def _gave_up(self, ticket: Turn) -> None:
        """It waits no more. A stream that goes on all the same is where it was before. Under the lock."""
        call = ticket.call
        if self._tickets.get(call) is ticket:
            del self._tickets[call]
            ticket.lane.leave(ticket)
        if ticket.begun and not (call.closed or call in self._seats or call in self._tickets):
            self._paused[call] = ticket.lane

    def _leave(self, call: Call) -> None:
        """It has left its model: others may go."""
        with self._lock:
            seat = self._seats.get(call)
            going = () if seat is None else self._left(call, seat)
        _tell(going)

    def _left(self, call: Call, seat: Seat) -> Collection[Turn]:
        """Give its place back, and places to those who go next: their turns cannot be cancelled any more, and
        are to be told. Under the lock."""
        del self._seats[call]
        lane, since, ticket = seat
        cost = int((self._clock() - since) * 1e6)
        mean = self._means.get(call.model)
        if mean is not None:
            self._means[call.model] = mean + (cost - mean) // 8
        elif len(self._means) < MOST_MODELS:
            self._means[call.model] = cost
        lane.ended(_caller(call) if lane.waiting else None, ticket, cost)
        if not lane.waiting:
            return ()
        going: list[Turn] = []
        while (goes := lane.next()) is not None:
            turn = cast("Turn", goes)
            del self._tickets[turn.call]
            if turn.turn.set_running_or_notify_cancel():
                self._seats[turn.call] = (lane, self._clock(), turn)
                going.append(turn)
            else:  # it left just now
                lane.declined(turn)
        return going

    def _refuse(self, note: str, lane: Lane) -> NoReturn:
        after = lane.waiting * lane.mean / lane.slots / 1e6
        retry_after = min(max(after, SOONEST), LATEST)
        raise Refusal("OVERLOADED", note, retry_after=retry_after, limit="capacity")


def _tell(going: Iterable[Turn]) -> None:
    """Those who go next. Not under the lock: whatever waits for a turn runs here."""
    for each in going:
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
