"""The rate algorithm against a slow, obvious model: a bucket of tokens in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardhouse.interceptors.limits.gcra import decide, left, limit

rates = st.integers(1, 1000)
bursts = st.integers(1, 50)
# Whole milliseconds, so that the bucket's fractions and the clock's floats mean the same moments.
gaps = st.lists(st.integers(0, 3000), min_size=1, max_size=60)
uptimes = st.sampled_from([0.0, 1.0, 86_400.0, 2_000_000.0, 300_000_000.0])


class Bucket:
    """Holds `burst` tokens, gains `rate` a second; a call takes one or is refused."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, Fraction(burst), Fraction(0)

    def take(self, at: Fraction) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + (at - self.at) * self.rate)
        self.at = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(rates, bursts, gaps, uptimes)
def test_it_decides_like_a_bucket(rate: int, burst: int, gaps: list[int], uptime: float) -> None:
    """Call by call the verdicts are the bucket's, on a machine just started and on one up for years.

    Where the bucket holds a whole number of tokens to within what the clock can tell, either may be right.
    """
    rule, bucket, arrival, at = limit(rate, burst), Bucket(rate, burst), 0.0, Fraction(0)
    for gap in gaps:
        at += Fraction(gap, 1000)
        now = uptime + float(at)
        before = min(Fraction(burst), bucket.tokens + (at - bucket.at) * rate)
        verdict = decide(rule, arrival, now)
        passed = verdict.wait == 0.0
        if before != 1 and abs(before - 1) < Fraction(rate, 10**6):
            return
        assert bucket.take(at) == passed
        assert abs(verdict.left - int(bucket.tokens)) <= (0 if bucket.tokens.denominator > 1 else 1)
        arrival = verdict.arrival


@given(rates, bursts, gaps, uptimes)
def test_the_wait_is_true(rate: int, burst: int, gaps: list[int], uptime: float) -> None:
    """A refused call that comes back after the wait passes, and one that comes clearly sooner does not."""
    rule, arrival, now = limit(rate, burst), 0.0, uptime
    for gap in gaps:
        now += gap / 1000 / rate
        verdict = decide(rule, arrival, now)
        if verdict.wait:
            assert verdict.arrival == arrival
            assert decide(rule, arrival, now + verdict.wait).wait == 0.0
            assert decide(rule, arrival, now + verdict.wait * 0.9 - 1e-6).wait > 0.0
        arrival = verdict.arrival


@given(rates, bursts, uptimes)
def test_what_is_left_would_pass(rate: int, burst: int, uptime: float) -> None:
    """A fresh key has its whole burst at once, counted down one by one, and no more."""
    rule, arrival = limit(rate, burst), 0.0
    assert left(rule, arrival, uptime) == burst
    for remaining in reversed(range(burst)):
        verdict = decide(rule, arrival, uptime)
        assert (verdict.wait, verdict.left) == (0.0, remaining)
        arrival = verdict.arrival

    assert decide(rule, arrival, uptime).wait > 0.0


@given(st.integers(1, 100_000), st.integers(0, 10**9))
@example(100, 1_234_567)
@example(100_000, 987_654_321)
def test_a_fresh_key_always_passes(rate: int, uptime: int) -> None:
    """Also with a burst of one, at high rates, after a long uptime: no rounding refuses it."""
    assert decide(limit(rate, 1), 0.0, uptime + 0.123456789).wait == 0.0


@given(rates, bursts, st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=200))
def test_never_more_than_burst_and_rate(rate: int, burst: int, moments: list[float]) -> None:
    """In any span of time no more pass than the burst and what the rate makes of the span."""
    rule, arrival, passed = limit(rate, burst), 0.0, []
    for now in sorted(moments):
        verdict = decide(rule, arrival, now)
        arrival = verdict.arrival
        if not verdict.wait:
            passed.append(now)
    for first, start in enumerate(passed):
        assert all(
            count <= burst + (end - start) * rate + 1e-6 for count, end in enumerate(passed[first:], start=1)
        )


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """A call stamped a little earlier than the last one is charged as well."""
    rule = limit(10, 2)
    first = decide(rule, 0.0, 100.0)
    second = decide(rule, first.arrival, 99.99)

    assert decide(rule, second.arrival, 99.99).wait > 0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_a_limit_that_lets_nothing_through(rate: float, burst: int) -> None:
    """It is a mistake, said at once."""
    with pytest.raises(ValueError, match="above 0"):
        limit(rate, burst)


def test_several_at_once() -> None:
    """A call may cost more than one, at most the burst."""
    rule = limit(1.0, 5)
    verdict = decide(rule, 0.0, 100.0, cost=4)

    assert (verdict.wait, verdict.left) == (0.0, 1)
    assert decide(rule, verdict.arrival, 100.0, cost=2).wait == 1.0
