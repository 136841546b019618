"""So many calls of each principal at the same time: who gets a slot, and when it is free again."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Call, Chain, Concurrency, Principal, Refusal
from guardhouse.interceptors.limits.rules import SlotRule
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role

RULES = {most: SlotRule(f"r{most}", most=most) for most in range(1, 101)}


def _call(
    name: str = "a",
    most: int | None = 3,
    issuer: str = "",
    rules: Sequence[SlotRule] = (),
    **facts: Any,
) -> Call:
    slots = tuple(rules) or (() if most is None else (RULES[most],))
    grant = Grant([Role("r")], Limits(slots=slots))
    return Call("/s/m", (), True, 0, 0, principal=Principal(name, issuer=issuer), grant=grant, **facts)


def _gets(guard: Concurrency, call: Call) -> bool:
    try:
        guard.inspect(call, None)
    except Refusal:
        return False
    return True


def _end(call: Call) -> None:
    Chain().settle(call, None)


def _left(guard: Concurrency, call: Call) -> int | None:
    assert call.grant is not None
    return next((guard.left(call, rule) for rule in call.grant.slots), None)


def test_as_many_as_the_limit_and_one_more_when_one_ends() -> None:
    """Three have a slot, the fourth has none and is told when to come back; when one ends, there is one."""
    guard, calls = Concurrency(), [_call() for _ in range(4)]
    assert [_gets(guard, call) for call in calls[:3]] == [True] * 3
    with pytest.raises(Refusal) as refused:
        guard.inspect(calls[3], None)
    _end(calls[3])
    told = (refused.value.reason, refused.value.code, refused.value.words, refused.value.retry_after)

    assert told == ("CONCURRENCY_LIMITED", StatusCode.RESOURCE_EXHAUSTED, "too many calls at once", 0.1)
    assert _left(guard, _call()) == 0
    _end(calls[0])
    assert [_gets(guard, _call()) for _ in range(2)] == [True, False]


def test_a_stream_has_one_slot() -> None:
    """Ten thousand messages of one call take one slot, and its end gives back one."""
    guard, call = Concurrency(), _call()
    for _ in range(10_000):
        guard.inspect(call, None)
    assert _left(guard, call) == 2
    _end(call)
    assert _left(guard, call) == 3


def test_a_stream_has_a_slot_for_each_model_that_it_asks() -> None:
    """It cannot reach a model that is full by asking another one first; and its end gives all back."""
    limited = [SlotRule("model", ("model",), most=1), SlotRule("mine", most=5)]
    guard, stream, other = Concurrency(), _call(rules=limited), _call("b", rules=limited)
    stream.model, other.model = "small", "large"
    assert _gets(guard, stream)
    assert _gets(guard, other)
    stream.model = "large"
    with pytest.raises(Refusal) as refused:
        guard.inspect(stream, None)
    _end(other)

    assert (refused.value.reason, refused.value.limit) == ("CONCURRENCY_LIMITED", "model")
    assert [_gets(guard, stream) for _ in range(3)] == [True] * 3
    assert guard._kept.used("model slots model=large") == 1
    assert guard._kept.used("mine slots principal=a") == 1
    _end(stream)
    assert guard._kept._used == {}


def test_without_a_grant_or_a_limit_no_slot_is_taken() -> None:
    """Whom nothing limits leaves no trace: not in the guard, and not on the call."""
    guard, nobody, free = Concurrency(), _call(), _call(most=None)
    nobody.grant = None
    for call in [nobody, free] * 100:
        guard.inspect(call, None)
    _end(nobody)
    _end(free)

    assert (_left(guard, free), guard._kept._used) == (None, {})
    assert [call for call in (nobody, free) if "work" in vars(call)] == []


def test_who_is_who() -> None:
    """Slots are kept by issuer and name; one name of two issuers is two callers."""
    guard = Concurrency()
    for _ in range(3):
        guard.inspect(_call("a"), None)

    assert [_gets(guard, _call(*who)) for who in [("a",), ("b",), ("a", 3, "https://elsewhere")]] == [
        *(False, True, True)
    ]


def test_all_limits_count_at_once_and_a_refused_call_has_no_slot_of_any() -> None:
    """What the tighter one refuses takes nothing of the wider one, by model or all together."""
    wide, tight = SlotRule("wide", (), most=3), SlotRule("tight", ("model",), most=1)
    guard, named = Concurrency(), ("am", "bm", "cn", "do", "ep")
    calls = [_call(name, rules=(wide, tight), model=model) for name, model in named]
    passed = [_gets(guard, call) for call in calls]

    assert passed == [True, False, True, True, False]
    with pytest.raises(Refusal) as refused:
        guard.inspect(calls[4], None)
    assert refused.value.limit == "wide"
    for call in calls:
        _end(call)
    assert guard._kept._used == {}


def test_a_limit_in_shadow_tells_and_lets_pass() -> None:
    """The record of a call beyond it names it; slots are counted all the same, and given back."""
    trial = SlotRule("trial", most=1, shadow=True)
    guard, calls = Concurrency(), [_call(rules=(trial, RULES[2])) for _ in range(3)]
    passed = [_gets(guard, call) for call in calls]

    assert passed == [True, True, False]
    assert [call.shadow for call in calls] == ["", "trial", ""]
    for call in calls:
        _end(call)
    assert guard._kept._used == {}


def test_general_limits_count_who_needs_no_role() -> None:
    """A method that is open to all takes a slot; what is free does not."""
    guard = Concurrency([SlotRule("peers", ("peer",), most=1)])
    calls = [_call(peer=f"ipv4:192.0.2.{host}:1") for host in (1, 1, 2)]
    for call in calls:
        call.grant = None

    assert [_gets(guard, call) for call in calls] == [True, False, True]


def test_nobody_is_remembered_who_has_no_call_under_way() -> None:
    """A hundred thousand principals who came and went take no room."""
    guard = Concurrency()
    for number in range(100_000):
        call = _call(f"n{number}")
        guard.inspect(call, None)
        _end(call)

    assert guard._kept._used == {}


def test_a_slot_is_given_back_once() -> None:
    """Settled twice, as two threads may, one call gives back one slot; a refused one gives back none."""
    guard, calls = Concurrency(), [_call() for _ in range(4)]
    passed = [_gets(guard, call) for call in calls]
    for call in (calls[0], calls[0], calls[3]):
        _end(call)

    assert passed == [True, True, True, False]
    assert _left(guard, calls[0]) == 1


def test_work_that_goes_on_keeps_the_slot() -> None:
    """A settled call is still counted while a thread works for it, until the last one lets go, once."""
    guard, call = Concurrency(), _call(most=1)
    guard.inspect(call, None)
    assert call.work is not None
    for thread in ("first", "second"):
        call.work.hold(thread)
    _end(call)
    free = []
    for thread in ("first", "first", "unknown", "second", "second"):
        call.work.let_go(thread)
        free.append(_left(guard, call))

    assert free == [0, 0, 0, 1, 1]


def test_no_work_begins_for_a_call_that_has_ended() -> None:
    """When the slot is free, it may be another's: whoever would hold it again is refused."""
    guard, call = Concurrency(), _call(most=1)
    guard.inspect(call, None)
    _end(call)
    assert call.work is not None
    with pytest.raises(Refusal) as refused:
        call.work.hold("late")
    call.work.let_go("late")

    assert refused.value.reason == "CANCELLED"
    assert _left(guard, call) == 1


def test_a_call_that_is_settled_takes_no_slot() -> None:
    """A message may come when another thread has settled the call: nobody would give back what it took."""
    guard = Concurrency()
    chain = Chain(guard)
    call = chain.open("/s/m", (), known=True)
    call.grant = _call().grant
    chain.end()
    with pytest.raises(Refusal) as refused:
        chain.inspect(call, None)

    assert refused.value.reason == "CANCELLED"
    assert guard._kept._used == {}


class Plain:
    """What the guard does, slow and obvious: the limit is held against a list of who holds what."""

    def __init__(self, most: int) -> None:
        self.most, self.holders = most, {}  # type: ignore[var-annotated] # by call, those who hold its slot
        self.had: set[int] = set()

    def running(self) -> int:
        return sum(1 for held in self.holders.values() if held)


STEPS = st.tuples(
    st.sampled_from(["message", "settle", "begin", "end"]), st.integers(0, 7), st.integers(0, 2)
)


@given(st.integers(1, 4), st.lists(STEPS, max_size=120))
def test_any_order_of_messages_ends_and_work(most: int, steps: list[tuple[str, int, int]]) -> None:
    """In any order, no more slots are taken than the limit allows, the count is right, and ends at zero."""
    guard, plain = Concurrency(), Plain(most)
    calls = [_call(most=most) for _ in range(8)]
    for what, number, thread in steps:
        call = calls[number]
        held = plain.holders.setdefault(number, set())
        if what == "message" and not call.closed:
            may = number in plain.had or plain.running() < most
            assert _gets(guard, call) is may
            if may and number not in plain.had:
                plain.had.add(number)
                held.add("call")
        elif what == "settle":
            _end(call)
            held.discard("call")
        elif call.work is not None and what == "begin" and held:
            call.work.hold(thread)
            held.add(thread)
        elif call.work is not None and what == "end":
            call.work.let_go(thread)
            held.discard(thread)
        assert sum(guard._kept._used.values()) == plain.running() <= most
    for call in calls:
        _end(call)
        for thread in range(3):
            if call.work is not None:
                call.work.let_go(thread)
    assert guard._kept._used == {}


class Slow(dict[Any, int]):
    """Lets other threads run between reading a count and writing the next."""

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        time.sleep(0)
        return found

    def pop(self, key: Any, *default: Any) -> Any:
        found = super().pop(key, *default)
        time.sleep(0)
        return found


def test_sixty_four_threads() -> None:
    """Of calls without pause from 64 threads, never more than five have a slot, and in the end none has."""
    guard, most, lock = Concurrency(), 5, threading.Lock()
    guard._kept._used = Slow()
    inside, highest, served = [0], [0], [0]
    barrier, usual = threading.Barrier(64), sys.getswitchinterval()

    def ask() -> None:
        barrier.wait()
        for _ in range(50):
            call = _call(most=most)
            if not _gets(guard, call):
                continue
            with lock:
                inside[0] += 1
                highest[0] = max(highest[0], inside[0])
                served[0] += 1
            assert call.work is not None
            call.work.hold("work")
            _end(call)
            with lock:
                inside[0] -= 1
            call.work.let_go("work")

    threads = [threading.Thread(target=ask) for _ in range(64)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)

    assert served[0] >= most
    assert highest[0] <= most
    assert guard._kept._used == {}
