"""What a rate gives, decided without a store: against the rule itself, over any draws at any times."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.limits.stores import Drawn, Drip
from guardhouse.interceptors.limits.stores.drips import SLACK, TICK, Debt, drawn, owed

EPOCH = 1.8e9  # seconds: a clock of the day, whose doubles are 0.2 µs apart
RATES = st.floats(1e-6, 1e9)  # units a second
BURSTS = st.integers(1, 10**9)
DRAWS = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 100), st.integers(0, 10**8)), max_size=40)


def _drip(rate: float, burst: int, least: int = 1, most: int = 1) -> Drip:
    return Drip("ann", 1 / rate, burst / rate, least, most)


def _run(rate: float, burst: int, draws: list[tuple[float, int, int]]) -> list[tuple[float, Drawn]]:
    """Draw at each time; waits are shares of the time in which the bucket fills up."""
    debt, now, answers = None, EPOCH, []
    for wait, least, more in draws:
        now += wait * burst / rate
        drip = _drip(rate, burst, least, least + more)
        answer, debt = drawn(drip, owed(debt, drip.interval, now), now)
        answers.append((now, answer))
    return answers


@given(rate=RATES, burst=BURSTS, draws=DRAWS)
def test_never_more_than_the_rule(rate: float, burst: int, draws: list[tuple[float, int, int]]) -> None:
    """Between any two draws at most the burst and what the rate gives in between, exactly reckoned."""
    answers = _run(rate, burst, draws)
    sums = [0, *accumulate(answer.units for _, answer in answers)]
    for first, (begin, _) in enumerate(answers):
        for last in range(first, len(answers)):
            passed = Fraction(answers[last][0]) - Fraction(begin)
            most = burst * (1 + 2 * Fraction(SLACK)) + passed * Fraction(rate)
            assert sums[last + 1] - sums[first] <= most


@given(rate=RATES, burst=BURSTS, draws=DRAWS, least=st.integers(1, 10**9))
def test_the_wait_is_the_truth(
    rate: float, burst: int, draws: list[tuple[float, int, int]], least: int
) -> None:
    """Who waits as long as told gets the least; who waits a hundredth less does not; `inf` is for what never
    can be.
    """
    debt, now, drip = None, EPOCH, _drip(rate, burst, min(least, burst), burst)
    for wait, few, more in draws:
        now += wait * burst / rate
        _, debt = drawn(_drip(rate, burst, few, few + more), owed(debt, drip.interval, now), now)
    answer, debt = drawn(drip, owed(debt, drip.interval, now), now)
    if answer.units:
        assert answer.wait == 0.0
        return
    then = now + answer.wait
    assert drawn(drip, owed(debt, drip.interval, then), then)[0].units >= drip.least
    early = now + answer.wait * 0.99
    if now + answer.wait - early > SLACK * drip.tolerance + 2 * TICK:
        assert drawn(drip, owed(debt, drip.interval, early), early)[0].units == 0
    assert drawn(drip._replace(least=burst + 1 + burst // 10**6, most=2 * 10**9), 0.0, now)[0].wait == inf


@given(rate=RATES, burst=BURSTS, draws=DRAWS)
def test_what_is_left_can_be_drawn(rate: float, burst: int, draws: list[tuple[float, int, int]]) -> None:
    """To the last unit, and not one more."""
    debt, now = None, EPOCH
    for wait, least, more in draws:
        now += wait * burst / rate
        drip = _drip(rate, burst, least, least + more)
        answer, debt = drawn(drip, owed(debt, drip.interval, now), now)
        rest = drawn(_drip(rate, burst, 1, 2**53 - 1), debt.owed, now)[0]
        assert rest.units == answer.left
        assert rest.left == 0


@pytest.mark.parametrize("rate", [1e6, 1e8, 1e9])
def test_small_draws_at_a_high_rate_are_counted(rate: float) -> None:
    """One unit of a thousand million a second is owed, though a time of day cannot tell when it is paid."""
    debt = None
    for number in range(1000):
        _, debt = drawn(_drip(rate, 10**6), owed(debt, 1 / rate, EPOCH), EPOCH)
        assert debt.owed == number + 1


@pytest.mark.parametrize("back", [1e-3, 3600.0, 1e9])
def test_a_clock_set_back(back: float) -> None:
    """Nothing is paid by it; and from then on time counts again, without a wait for the clock to catch up."""
    drip = _drip(1.0, 10, 1, 10)
    _, debt = drawn(drip, 0.0, EPOCH)
    answer, debt = drawn(drip, owed(debt, 1.0, EPOCH - back), EPOCH - back)
    assert answer == Drawn(0, 1.0 + TICK, 0)
    later = EPOCH - back + 5
    assert drawn(drip, owed(debt, 1.0, later), later)[0].units == 5


def test_another_pace() -> None:
    """Units that were drawn stay drawn where interval and burst change: they are paid at the new pace."""
    debt = Debt(10.0, EPOCH, EPOCH + 36_000)
    assert owed(debt, 1.0, EPOCH + 4) == 6.0
    lower = Drip("ann", 1.0, 2.0, 1, 1)
    assert drawn(lower, 6.0, EPOCH)[0] == Drawn(0, 5.0 + TICK, 0)


def test_never_in_debt_for_nothing() -> None:
    """A rate that is owed nothing is full at once, and a burst below one unit gives none, ever."""
    answer, debt = drawn(Drip("ann", 1.0, 0.5, 1, 1), 0.0, EPOCH)
    assert answer == Drawn(0, inf, 0)
    assert debt.full == EPOCH
