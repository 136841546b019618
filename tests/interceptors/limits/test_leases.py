"""Rates that processes share through a store: never more than is said, and quick without the store."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors.limits import leases as module
from guardhouse.interceptors.limits.buckets import Draw
from guardhouse.interceptors.limits.gcra import Limit, limit
from guardhouse.interceptors.limits.leases import LAPSE, Leases, ahead
from guardhouse.interceptors.limits.reach import PAUSE, PROBE
from guardhouse.interceptors.limits.stores import Store
from guardhouse.interceptors.limits.stores.memory import MemoryStore

from .troubled import Clock, Troubled

FAST = limit(100.0, 200)
SLOW = limit(1 / 86_400, 1000)
Make = Callable[..., Leases]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that answers is waited for, however busy the machine is."""
    monkeypatch.setattr(module, "PATIENCE", 30.0)


@pytest.fixture
def leases() -> Iterator[Make]:
    """Makes leases of a store; they are closed with the test."""
    made: list[Leases] = []

    def make(store: Store, clock: Callable[[], float] = time.monotonic) -> Leases:
        made.append(Leases(store, clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def passes(kept: Leases, now: float, *draws: Draw) -> bool:
    answer = kept.draw(draws, now)
    if answer is None:
        answer = kept.fetch(draws)
    assert not answer.alone
    return not answer.wait


def simulated(rate: Limit, processes: int, steps: list[tuple[int, int, int]]) -> list[tuple[float, int]]:
    """When what passed, where each step is a process, milliseconds since the last one, and units."""
    clock = Clock()
    store = MemoryStore(clock, clock)
    kept = [Leases(store, clock) for _ in range(processes)]
    passed = []
    for process, gap, units in steps:
        clock.now += gap / 1000
        if passes(kept[process % processes], clock.now, Draw("a", rate, units)):
            passed.append((clock.now, units))
    for each in kept:
        each.close()
    return passed


Steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 5, 50, 1500]), st.integers(1, 5)), max_size=120
)


@settings(deadline=None, max_examples=60)
@given(Steps, st.integers(1, 4))
def test_no_time_sees_more_than_the_bound(steps: list[tuple[int, int, int]], processes: int) -> None:
    """In every stretch of time: the burst, what the rate gives in it, and one `ahead` of each process."""
    rate, burst = limit(50.0, 40), 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PATIENCE", 30.0)
        passed = simulated(rate, processes, steps)

    most = ahead(rate, burst)
    assert most == 2
    for start in range(len(passed)):
        total = 0
        for when, units in passed[start:]:
            total += units
            assert total <= burst + 50.0 * (when - passed[start][0]) + processes * most + 1e-6


def test_what_is_drawn_ahead_follows_what_is_used() -> None:
    """As much as since the last time, at most a twentieth of the burst and a tenth of a second's worth."""
    assert [ahead(FAST, used) for used in (0, 1, 7, 10, 50)] == [0, 1, 7, 10, 10]
    assert ahead(limit(1000.0, 10), 50) == 0
    assert ahead(limit(1.0, 1000), 50) == 0


@pytest.mark.usefixtures("patient")
def test_most_calls_do_not_ask_the_store(leases: Make) -> None:
    """A caller who asks a lot has units in hand: of 200 calls at once at most 60 ask."""
    store, clock = Troubled(MemoryStore(ticks=Clock())), Clock()
    kept = leases(store, clock)
    passed = [passes(kept, clock.now, Draw("a", FAST)) for _ in range(210)]

    assert passed == [True] * 200 + [False] * 10
    assert store.asked < 60


@pytest.mark.usefixtures("patient")
def test_who_must_wait_is_told_so_without_the_store(leases: Make) -> None:
    """The store has said for how long; until then nobody asks it, and after that it says yes."""
    clock = Clock()
    store = Troubled(MemoryStore(clock, clock))
    kept, rate = leases(store, clock), limit(2.0, 3)
    assert [passes(kept, clock.now, Draw("a", rate)) for _ in range(4)] == [True, True, True, False]
    asked = store.asked
    answers = [kept.draw([Draw("a", rate)], clock.now) for _ in range(100)]
    clock.now += 0.51

    assert {round(answer.wait, 6) for answer in answers if answer} == {0.500001}
    assert len(answers) == 100
    assert store.asked == asked
    assert passes(kept, clock.now, Draw("a", rate))


@pytest.mark.usefixtures("patient")
def test_units_in_hand_lapse(leases: Make) -> None:
    """What was drawn ahead and not spent for a second is not there any more."""
    clock = Clock()
    store = Troubled(MemoryStore(clock, clock))
    kept = leases(store, clock)
    for _ in range(40):
        passes(kept, clock.now, Draw("a", FAST))
    assert kept.draw([Draw("a", FAST)], clock.now) is not None
    clock.now += LAPSE

    assert kept.draw([Draw("a", FAST)], clock.now) is None


@pytest.mark.usefixtures("patient")
def test_all_rates_or_none(leases: Make) -> None:
    """What one of two refuses costs nothing of the other: the units stay in hand, and pay for the next."""
    clock = Clock()
    kept = leases(MemoryStore(clock, clock), clock)
    wide, tight = Draw("wide", limit(1 / 3600, 3)), Draw("tight", limit(1 / 3600, 1))
    together = [passes(kept, clock.now, wide, tight) for _ in range(3)]
    alone = [passes(kept, clock.now, wide) for _ in range(3)]

    assert together == [True, False, False]
    assert alone == [True, True, False]


@pytest.mark.usefixtures("patient")
def test_more_than_the_burst_never_passes(leases: Make) -> None:
    """It is told so at once, without the store."""
    store = Troubled(MemoryStore(ticks=Clock()))
    kept, asked = leases(store, Clock()), store.asked
    answer = kept.draw([Draw("a", limit(2.0, 3), 4)], 1000.0)

    assert answer is not None
    assert math.isinf(answer.wait)
    assert store.asked == asked


@pytest.mark.usefixtures("patient")
def test_four_processes_of_sixteen_threads(leases: Make) -> None:
    """Race for one burst: never more of it passes than there is, and all but what lies in hand."""
    store, passed, barrier = MemoryStore(), [0] * 64, threading.Barrier(64)
    kept = [leases(store) for _ in range(4)]

    def spend(place: int) -> None:
        barrier.wait()
        for _ in range(40):
            passed[place] += passes(kept[place % 4], time.monotonic(), Draw("a", SLOW))

    threads = [threading.Thread(target=spend, args=(place,)) for place in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1000 - 4 * ahead(SLOW, 1000) <= sum(passed) <= 1000


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_store_in_trouble_is_not_waited_for(leases: Make, how: str) -> None:
    """The first call waits a moment, the others do not; each process keeps to the rate."""
    store, clock = Troubled(MemoryStore()), Clock()
    kept, rate = leases(store, clock), Draw("a", limit(1 / 3600, 5))
    if how == "hangs":
        store.well.clear()
    store.fails = how == "fails"
    first = kept.fetch([rate])
    others = [kept.draw([rate], clock.now) for _ in range(6)]

    assert (first.wait, first.alone) == (0.0, True)
    assert [each and (bool(each.wait), each.alone) for each in others] == [(False, True)] * 4 + [
        (True, True)
    ] * 2
    assert store.asked <= 2
    store.fails = False
    store.well.set()
    clock.now += PAUSE
    end = time.monotonic() + 30
    while kept.fetch([Draw("b", FAST)]).alone and time.monotonic() < end:
        clock.now += PAUSE
    assert not kept.fetch([Draw("c", FAST)]).alone


def test_nobody_waits_for_leases_that_were_closed() -> None:
    """Calls that come later are decided here alone."""
    kept = Leases(MemoryStore())
    kept.close()

    assert kept.fetch([Draw("a", FAST)]).alone


def test_a_store_that_still_hangs_is_not_waited_for_again(leases: Make) -> None:
    """However long it takes: nobody blocks for a question behind one that is not answered."""
    store, clock = Troubled(MemoryStore()), Clock()
    kept = leases(store, clock)
    store.well.clear()
    first = kept.fetch([Draw("a", FAST)])
    clock.now += 10 * PAUSE
    second = kept.draw([Draw("a", FAST)], clock.now)
    store.well.set()

    assert first.alone
    assert second is not None
    assert second.alone


def test_a_store_that_answers_again_is_found_out_by_calls_that_do_not_wait(leases: Make) -> None:
    """Long before anybody would wait for it again: a call that is decided here alone has it asked as well."""
    store, clock = Troubled(MemoryStore()), Clock()
    kept, rate = leases(store, clock), Draw("a", FAST)
    store.fails = True
    assert kept.fetch([rate]).alone
    store.fails = False
    asked = store.asked
    clock.now += PROBE
    first = kept.draw([rate], clock.now)
    end = time.monotonic() + 30
    while store.asked == asked and time.monotonic() < end:
        time.sleep(0.001)
    while (found := kept.draw([rate], clock.now)) and found.alone and time.monotonic() < end:
        time.sleep(0.001)

    assert PROBE < PAUSE
    assert first is not None
    assert first.alone
    assert found is None or not found.alone
