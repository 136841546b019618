"""Slots that several processes share through a store: never more than is said, and none is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors.limits import shared_slots as module
from guardhouse.interceptors.limits.reach import PAUSE
from guardhouse.interceptors.limits.shared_slots import FULL, SECONDS, SharedSlots
from guardhouse.interceptors.limits.slots import TAKEN, Slot, Taken
from guardhouse.interceptors.limits.stores import Hold, Store, StoreError
from guardhouse.interceptors.limits.stores.memory import MemoryStore

from .troubled import Clock, Troubled

THREE = Slot("a", 3)
Make = Callable[..., SharedSlots]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that answers is waited for, however busy the machine is."""
    monkeypatch.setattr(module, "PATIENCE", 30.0)


@pytest.fixture
def processes() -> Iterator[Make]:
    """Makes a process's slots of a store; they are closed with the test."""
    made: list[SharedSlots] = []

    def make(store: Store, clock: Callable[[], float] = time.monotonic) -> SharedSlots:
        made.append(SharedSlots(store, clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def take(kept: SharedSlots, *slots: Slot) -> Taken:
    taken = kept.take(slots) or kept.fetch(slots)
    assert not taken.alone
    return taken


def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


@pytest.mark.usefixtures("patient")
def test_processes_share_slots_and_what_one_gives_back_another_gets(processes: Make) -> None:
    """Three in all; when a call ends in one process, another has its slot soon."""
    store = MemoryStore()
    one, other = processes(store), processes(store)
    taken = [take(each, THREE).full for each in (one, other, one, other, one)]
    one.give_back(["a"])

    assert taken == [TAKEN, TAKEN, TAKEN, 0, 0]
    assert until(lambda: take(other, THREE).full == TAKEN)
    assert take(one, THREE).full == 0


@pytest.mark.usefixtures("patient")
def test_all_slots_or_none(processes: Make) -> None:
    """What one of two limits refuses takes nothing of the other."""
    kept = processes(MemoryStore())
    wide, tight = Slot("wide", 2), Slot("tight", 1)
    taken = [take(kept, wide, tight).full for _ in range(3)]
    alone = [take(kept, wide).full for _ in range(2)]

    assert taken == [TAKEN, 1, 1]
    assert alone == [TAKEN, 0]
    assert (kept.used("wide"), kept.used("tight")) == (2, 1)


@pytest.mark.usefixtures("patient")
def test_a_process_that_says_nothing_more_has_no_slots_after_a_while() -> None:
    """Killed, it keeps them for `SECONDS` by the store's clock, and no longer."""
    clock = Clock()
    store = MemoryStore(clock, clock)
    victim, other = SharedSlots(store), SharedSlots(store)
    for _ in range(3):
        take(victim, THREE)
    victim._asker.close(30)  # from here on it tells nobody
    before = take(other, THREE).full
    clock.now += SECONDS + 1

    assert before == 0
    assert until(lambda: take(other, THREE).full == TAKEN)
    other.close()


@pytest.mark.usefixtures("patient")
def test_slots_in_use_are_renewed(processes: Make) -> None:
    """A call that takes long keeps its slot: the store is told again before its time is over."""
    wall = Clock()
    store = Troubled(MemoryStore(wall, wall))
    monotonic = Clock()
    one, other = processes(store, monotonic), processes(store)
    for _ in range(3):
        take(one, THREE)
    for _ in range(8):
        asked = store.asked
        monotonic.now += SECONDS / 2
        wall.now += SECONDS / 2
        assert until(lambda asked=asked: store.asked > asked)

    assert take(other, THREE).full == 0


Steps = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60)


@settings(deadline=None, max_examples=40)
@given(Steps)
def test_never_more_than_the_limit_and_none_is_lost(steps: list[tuple[int, bool]]) -> None:
    """Whoever takes and gives back in any order; in the end one process can have all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PATIENCE", 30.0)
        store = MemoryStore()
        kept = [SharedSlots(store) for _ in range(3)]
        used = [0, 0, 0]
        for process, takes in steps:
            if takes:
                used[process] += take(kept[process], THREE).full == TAKEN
            elif used[process]:
                kept[process].give_back(["a"])
                used[process] -= 1
            assert sum(used) <= 3
            assert [each.used("a") for each in kept] == used
        for each in kept[1:]:
            each.close()
        assert until(lambda: (take(kept[0], THREE), kept[0].used("a") == 3)[1])
        kept[0].close()


@pytest.mark.usefixtures("patient")
def test_four_processes_of_sixteen_threads(processes: Make) -> None:
    """Whenever one has a slot, no more than five have one, by a counter of their own."""
    store, barrier, lock = MemoryStore(), threading.Barrier(64), threading.Lock()
    kept, five = [processes(store) for _ in range(4)], Slot("a", 5)
    inside, most, passed = 0, 0, 0

    def work(place: int) -> None:
        nonlocal inside, most, passed
        barrier.wait()
        for _ in range(30):
            if take(kept[place % 4], five).full != TAKEN:
                continue
            with lock:
                inside, passed = inside + 1, passed + 1
                most = max(most, inside)
            time.sleep(0)
            with lock:
                inside -= 1
            kept[place % 4].give_back(["a"])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most <= 5
    assert passed > 5


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_store_in_trouble_is_not_waited_for(processes: Make, how: str) -> None:
    """Each process by itself lets in as many as the limit says; once the store is well, all together."""
    store, clock = Troubled(MemoryStore()), Clock()
    kept = processes(store, clock)
    if how == "hangs":
        store.well.clear()
    store.fails = how == "fails"
    first = kept.fetch([THREE])
    others = [kept.take([THREE]) for _ in range(3)]

    assert first == Taken(TAKEN, alone=True)
    assert others == [Taken(TAKEN, alone=True)] * 2 + [Taken(0, alone=True)]
    store.fails = False
    store.well.set()
    kept.give_back(["a"])
    clock.now += PAUSE + FULL
    found = kept.fetch([THREE])
    end = time.monotonic() + 30
    while found.alone and time.monotonic() < end:
        if found.full == TAKEN:
            kept.give_back(["a"])
        clock.now += PAUSE
        found = kept.fetch([THREE])
    assert found == Taken()


@pytest.mark.usefixtures("patient")
def test_quick_calls_do_not_make_a_holder_full(processes: Make) -> None:
    """What was granted for one is gone when it looks, taken by another: it asks again, and is not refused."""
    store, answered = Troubled(MemoryStore()), threading.Event()
    hundred, hold = Slot("a", 100), store.hold

    def told(process: str, holds: list[Hold], seconds: float) -> tuple[int, ...]:
        granted = hold(process, holds, seconds)
        answered.set()
        return granted

    def clock() -> float:
        if not quick and answered.is_set() and threading.current_thread().name == "guardhouse-slots":
            answered.clear()
            quick.append(kept.take([hundred]))
        return time.monotonic()

    quick: list[Taken | None] = []
    kept = processes(store, clock)
    store.hold = told  # type: ignore[method-assign]
    found = kept.fetch([hundred])

    assert quick[0] == found == Taken()
    assert until(lambda: store.asked > 2)


def test_closing_beside_a_store_that_hangs(processes: Make) -> None:
    """The thread that asks is still at work: nothing is read while it writes, and what is held is told."""
    store = Troubled(MemoryStore())
    kept = processes(store)
    store.well.clear()
    assert kept.fetch([THREE]) == Taken(alone=True)
    asked = store.asked
    closing = threading.Thread(target=kept.close)
    closing.start()
    assert until(lambda: store.asked > asked)
    store.well.set()
    closing.join(30)

    assert not closing.is_alive()


@pytest.mark.usefixtures("patient")
def test_what_was_freed_is_at_hand_for_a_while(processes: Make) -> None:
    """A question about somebody else gives nothing back that was used a moment ago."""
    clock = Clock()
    kept = processes(MemoryStore(), clock)
    clock.now += 1
    for holder in ("a", "b"):
        take(kept, Slot(holder, 3))
        kept.give_back([holder])

    assert kept.take([THREE]) == Taken()


def test_slots_of_which_nobody_heard_are_given_back(processes: Make) -> None:
    """The store did as it was asked, and its answer was lost: it is told again, and others have them soon.

    By a clock of the store that stands still, as it would take them back by itself one day.
    """
    wall = Clock()
    inner = MemoryStore(wall, wall)
    store, hold = Troubled(inner), inner.hold

    def lost(process: str, holds: list[Hold], seconds: float) -> tuple[int, ...]:
        granted = hold(process, holds, seconds)
        if store.fails:
            raise StoreError("the answer was lost")
        return granted

    store.hold = lost  # type: ignore[method-assign]
    one, other = processes(store), processes(inner)
    store.fails = True
    assert one.fetch([THREE]).alone
    one.give_back(["a"])
    store.fails = False

    assert until(lambda: (other.take([THREE]) or other.fetch([THREE]), other.used("a") == 3)[1])
    assert until(lambda: not one._held)


def test_a_store_that_still_hangs_is_not_waited_for_again(processes: Make) -> None:
    """However long it takes: nobody blocks for a question behind one that is not answered."""
    store, clock = Troubled(MemoryStore()), Clock()
    kept = processes(store, clock)
    store.well.clear()
    first = kept.fetch([THREE])
    clock.now += 10 * PAUSE
    second = kept.take([THREE])
    store.well.set()

    assert [first, second] == [Taken(alone=True)] * 2
