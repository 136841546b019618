"""Places and turns of calls whose service works with several tasks, or asks models of both kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guardhouse.interceptors import Call, Chain, Guard, Principal, Refusal, Stage, guard
from guardhouse.interceptors.limits.admission import Admission
from guardhouse.interceptors.limits.crowd import Crowd
from guardhouse.interceptors.limits.places import Capacity
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.rules import Role
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import CALL

POLICY = """
roles: {r: {allow: [{methods: [ServerLive]}]}}
bindings: [{role: r, subject: "spiffe://a/b"}]
"""
GRANT = Grant([Role("r")])


def _call(who: str = "a", model: str = "async", **facts: object) -> Call:
    facts = {"grant": GRANT, "principal": Principal(who), "model": model, **facts}
    return Call("/test.Echo/Ask", (), True, 0, time.monotonic_ns(), **facts)


def _admission(**room: int) -> Admission:
    return Admission(Capacity(**{"others": 1, **room}, blocks=lambda model, _: model == "blocking"))


def _later(step: Callable[..., None], *about: object) -> Later:
    with pytest.raises(Later) as raised:
        step(*about)
    return raised.value


def _refusal(step: Callable[..., None], *about: object) -> str:
    """The reason for which *step* refuses; "" if it does not."""
    try:
        step(*about)
    except Refusal as refusal:
        return refusal.reason
    return ""


def _settle(admission: Admission, *calls: Call) -> None:
    """As the chain does."""
    for call in calls:
        call.closed = True
        admission.settle(call)
        if call.work is not None:
            call.work.let_go(CALL)


def _is_empty(admission: Admission) -> bool:
    lanes = (admission._blocking, admission._others)
    left = (admission._seats, admission._tickets, admission._paused, admission._crowd)
    return not any(map(len, left)) and all(lane.free == lane.slots and not lane.waiting for lane in lanes)


def _resuming(admission: Admission) -> tuple[Call, Call, Later]:
    """A stream that waits to go on, and the call that has the place."""
    stream, other = _call("stream"), _call("other")
    admission.inspect(stream, None)
    admission.pause(stream)
    admission.inspect(other, None)
    return stream, other, _later(admission.resume, stream)


def test_two_tasks_of_a_call_wait_for_one_turn() -> None:
    """One reads the next message while the other waits to go on: both go on, and the place is one."""
    admission = _admission()
    stream, other, first = _resuming(admission)
    second, third = _later(admission.inspect, stream, None), _later(admission.resume, stream)

    assert admission.waiting == 1
    _settle(admission, other)
    for each in (first, second, third):
        each.finish()
    _settle(admission, stream)
    assert _is_empty(admission)


def test_a_turn_that_came_stands_though_another_task_has_paused_since() -> None:
    """The one who waited goes on; the call has its place again when the service does."""
    admission = _admission()
    stream, other, first = _resuming(admission)
    _settle(admission, other)
    admission.pause(stream)
    first.finish()
    admission.resume(stream)
    _settle(admission, stream)
    assert _is_empty(admission)


def test_a_message_that_comes_while_another_task_pauses_takes_the_place() -> None:
    """And going on then takes no second one."""
    admission = _admission(others=2)
    stream = _call()
    admission.inspect(stream, None)
    admission.pause(stream)
    admission.inspect(stream, None)
    admission.resume(stream)
    assert admission._others.free == 1
    _settle(admission, stream)
    assert _is_empty(admission)


def test_a_turn_nobody_wants_any_more_goes_to_the_next() -> None:
    """Cancelled in the moment in which a place is free: it runs nothing, and keeps no place."""
    admission = _admission()
    first, gone, after = _call("first"), _call("gone"), _call("after")
    admission.inspect(first, None)
    left = _later(admission.inspect, gone, None)
    waits = _later(admission.inspect, after, None)
    assert left.turn is not None
    left.turn.cancel()
    _settle(admission, first)

    assert _refusal(left.finish) == "OVERLOADED"
    waits.finish()
    _settle(admission, gone, after)
    assert _is_empty(admission)


def test_a_stream_that_gave_up_its_turn_takes_another_to_go_on() -> None:
    """A task of its service that was cancelled does not let it pass the queue."""
    admission = _admission()
    stream, other, first = _resuming(admission)
    assert first.turn is not None
    first.turn.cancel()
    assert _refusal(first.finish) == "OVERLOADED"
    again = _later(admission.resume, stream)
    _settle(admission, other)
    again.finish()
    _settle(admission, stream)
    assert _is_empty(admission)


def test_a_stream_does_not_pass_the_queue_of_models_that_block() -> None:
    """Its first message is for a model that does not: the second waits for a thread like everybody's."""
    admission = _admission(threads=1)
    busy, stream = _call("busy", "blocking"), _call("stream")
    admission.inspect(busy, None)
    admission.inspect(stream, None)
    stream.model = "blocking"
    waits = _later(admission.inspect, stream, None)

    assert admission._others.free == 1
    _settle(admission, busy)
    waits.finish()
    stream.model = "async"
    admission.inspect(stream, None)
    assert (admission._blocking.free, admission._others.free) == (0, 1), "it may still work in the thread"
    _settle(admission, stream)
    assert _is_empty(admission)


@pytest.mark.parametrize("model", ["async", "blocking"])
def test_a_call_that_ends_in_the_moment_of_its_turn_keeps_no_place(model: str) -> None:
    """Its turn has come, nobody has told it yet, and its caller leaves."""
    admission = _admission()
    first, leaving = _call("first", model), _call("leaving", model)
    admission.inspect(first, None)
    came = _later(admission.inspect, leaving, None)
    _settle(admission, first, leaving)
    assert _refusal(came.finish) == "CANCELLED"
    assert _is_empty(admission)


@pytest.mark.parametrize("model", ["async", "blocking"])
@pytest.mark.parametrize("room", [0, 1])
def test_a_call_that_another_thread_has_ended_takes_no_place(model: str, room: int) -> None:
    """The end of the chain settles it before its message is judged: whether it would have to wait or not."""
    admission = _admission()
    first, ended = _call("first", model), _call("ended", model)
    if not room:
        admission.inspect(first, None)
    _settle(admission, ended)
    if room:
        assert _refusal(admission.inspect, ended, None) == "CANCELLED"
    else:
        came = _later(admission.inspect, ended, None)
        _settle(admission, first)
        assert _refusal(came.finish) == "CANCELLED"
    assert _is_empty(admission)


def test_three_who_hoard_leave_room_for_others() -> None:
    """As many as there is room for each in turn, none of which ends: whoever comes next is let in."""
    admission = _admission(calls=1024)
    held = []
    for who in ("a", "b", "c"):
        while not (reason := _refusal(admission.admit, call := _call(who))):
            held.append(call)
        assert reason == "OVERLOADED"
    for number in range(20):
        admission.admit(call := _call(f"polite {number}"))
        held.append(call)
    _settle(admission, *held)
    assert _is_empty(admission)


def test_room_is_shared_equally_by_those_who_want_all() -> None:
    """Each of n gets one part of n + 1, whoever was first, once calls have come and gone."""
    crowd = Crowd(100)
    by: dict[str, list[Call]] = {who: [] for who in "abcd"}
    for number in range(2000):
        for who, calls in by.items():
            call = _call(who)
            if crowd.enter(call, who):
                calls.append(call)
        longest = max(by.values(), key=len) if number < 1500 else by["abcd"[number % 4]]
        crowd.leave(longest.pop(0))
    assert all(18 <= len(calls) <= 21 for calls in by.values())
    assert len(crowd) <= 85


def test_its_place_in_the_chain(tmp_path: Path) -> None:
    """Behind what refuses and charges, before guards that look into messages, whichever others there are."""

    class Early(Guard):
        stage = Stage.BUDGET

    class Late(Guard):
        stage = Stage.ADMISSION

    (tmp_path / "policy.yaml").write_text(POLICY)
    early, late = Early(), Late()
    with guard(policy=tmp_path / "policy.yaml", ledger=None, tokens=False, more=[late, early]) as chain:
        places = {type(each): place for place, each in enumerate(chain.guards)}
    assert places[Early] < places[Admission] < places[Late]
    with pytest.raises(ValueError, match="guards out of order"):
        Chain(Admission(), early)
