"""So many calls for each principal: what is charged, to whom, and what becomes of very many keys."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Call, Principal, Refusal
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits.gcra import limit as limit_of
from guardhouse.interceptors.limits.rate import RateLimit

TWO_A_SECOND = Rate(2, 1, 3)


def _call(name: str = "a", rate: Rate | None = TWO_A_SECOND, now: float = 1000.0, issuer: str = "") -> Call:
    # Of a grant the guard reads nothing but its limit.
    grant: Any = SimpleNamespace(limit=limit_of(rate.per_second, rate.burst) if rate else None)
    return Call("/s/m", (), True, 0, 0, now=now, principal=Principal(name, issuer=issuer), grant=grant)


def _passes(limit: RateLimit, call: Call) -> bool:
    try:
        limit.admit(call)
    except Refusal:
        return False
    return True


def test_burst_then_rate() -> None:
    """Three at once, then two a second, and the caller is told how many are left and when all are back."""
    limit = RateLimit()
    calls = [_call() for _ in range(4)]
    passed = [_passes(limit, call) for call in calls]

    assert passed == [True, True, True, False]
    assert [call.trailers for call in calls] == [
        (("ratelimit", '"rate";r=2;t=1'),),
        (("ratelimit", '"rate";r=1;t=1'),),
        (("ratelimit", '"rate";r=0;t=2'),),
        (),
    ]
    assert [_passes(limit, _call(now=1000.5)) for _ in range(2)] == [True, False]


def test_the_wait_that_is_told_is_enough() -> None:
    """Who comes back when told passes; who comes before that does not."""
    limit, now = RateLimit(), 1000.0
    for _ in range(3):
        limit.admit(_call(now=now))
    for _ in range(50):
        with pytest.raises(Refusal) as refused:
            limit.admit(_call(now=now))
        wait = refused.value.retry_after
        assert wait is not None
        assert not _passes(limit, _call(now=now + wait * 0.98))
        now += wait
        assert _passes(limit, _call(now=now))


def test_without_a_grant_or_rate_nothing_is_charged() -> None:
    """Whom the policy gives no rate has none; whom it gives nothing is refused elsewhere."""
    limit = RateLimit()
    nobody = _call()
    nobody.grant = None

    assert all(_passes(limit, call) for call in [nobody, _call(rate=None)] * 100)


def test_each_message_of_a_stream_is_charged() -> None:
    """The first message is paid for by the call; every further one costs as much as a call."""
    limit, call = RateLimit(), _call()
    limit.admit(call)
    call.requests = 1
    for _ in range(2):
        limit.again(call, incoming=True)
        limit.again(call, incoming=False)
    with pytest.raises(Refusal) as refused:
        limit.again(call, incoming=True)

    assert refused.value.reason == "RATE_LIMITED"
    assert (len(call.trailers), call.units) == (1, 3)


def test_who_is_who() -> None:
    """Limits are kept by issuer and name; one name of two issuers is two callers."""
    limit = RateLimit()
    for _ in range(3):
        limit.admit(_call("a"))

    assert not _passes(limit, _call("a"))
    assert _passes(limit, _call("b"))
    assert _passes(limit, _call("a", issuer="https://elsewhere"))


def test_remaining_tells_and_does_not_charge() -> None:
    """`remaining` is what would pass now."""
    limit, call = RateLimit(), _call()
    grant: Any = call.grant
    before = [limit.remaining(call.principal, grant, 1000.0) for _ in range(5)]
    limit.admit(call)

    assert before == [3] * 5
    assert limit.remaining(call.principal, grant, 1000.0) == 2
    assert limit.remaining(call.principal, grant, 1009.0) == 3
    assert limit.remaining(call.principal, SimpleNamespace(limit=None), 1000.0) is None  # type: ignore[arg-type] # only its limit is read


def test_keys_are_bounded() -> None:
    """A million names in a moment take the room of the most that are kept, and one more for all others."""
    limit = RateLimit(most_keys=1000)
    for number in range(100_000):
        _passes(limit, _call(f"n{number}", now=1000.0 + number * 1e-9))

    assert len(limit._arrivals) <= 1001
    assert len(limit._queue) <= 1000


def test_room_comes_back() -> None:
    """Keys that owe nothing any more make room for new ones."""
    limit = RateLimit(most_keys=100)
    for round_ in range(20):
        now = 1000.0 + round_ * 10
        assert sum(_passes(limit, _call(f"{round_}/{number}", now=now)) for number in range(100)) >= 95

    assert len(limit._arrivals) <= 101


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 0, 0, 10, 600])), min_size=20, max_size=80))
def test_an_evicted_key_never_comes_back_richer(steps: list[tuple[int, int]]) -> None:
    """With room for three of five names, nobody ever passes who would not with room for all."""
    small, ample, now = RateLimit(most_keys=3), RateLimit(), 1000.0
    for name, gap in steps:
        now += gap / 1000
        small_passes = _passes(small, _call(f"n{name}", now=now))
        if small_passes:
            assert _passes(ample, _call(f"n{name}", now=now))


def test_eight_threads() -> None:
    """Of very many calls at one moment, from eight threads, exactly the burst passes."""
    limit, rate, passed = RateLimit(), Rate(1, 86_400, 1000), [0] * 8
    barrier = threading.Barrier(8)
    usual = sys.getswitchinterval()

    def spend(place: int) -> None:
        barrier.wait()
        for _ in range(500):
            passed[place] += _passes(limit, _call(rate=rate))

    threads = [threading.Thread(target=spend, args=(place,)) for place in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)

    assert sum(passed) == 1000
