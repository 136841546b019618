"""Rates and slots in memory and in SQLite as time goes by, is set, or begins anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Drawn, Hold, Store, memory_rates, memory_slots
from guardhouse.interceptors.limits.stores.drips import TICK
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore
from guardhouse.interceptors.limits.stores.sqlite_rates import LOOKS

from .accounts import draw, drip, hold

HOUR = 3600.0


class Clocks:
    """A clock of the day and one of ticks, both set by hand."""

    def __init__(self) -> None:
        self.day, self.ticks = 1.8e9, 50_000.0


@pytest.fixture
def clocks() -> Clocks:
    """Those of one test."""
    return Clocks()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks) -> Iterator[Store]:
    """Each store that can be given clocks."""
    day, ticks = (lambda: clocks.day), (lambda: clocks.ticks)
    if request.param == "memory":
        made: Store = MemoryStore(day, ticks)
    else:
        made = SqliteStore(tmp_path / "budgets.db", day, ticks)
    yield made
    made.close()


def test_filled_up_in_time(store: Store, clocks: Clocks) -> None:
    """Unit by unit, at its pace, up to the burst and no further."""
    rate = drip(most=10, burst=10, interval=0.5)
    assert draw(store, rate) == [10]
    assert store.draw([rate]) == (Drawn(0, 0.5 + TICK, 0),)
    clocks.ticks += 0.49
    assert draw(store, rate) == [0]
    clocks.ticks += 0.01
    assert draw(store, rate) == [1]
    clocks.ticks += 2.0
    assert draw(store, rate) == [4]
    clocks.ticks += HOUR
    assert draw(store, rate) == [10]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_of_the_day_that_is_set(store: Store, clocks: Clocks, jump: float) -> None:
    """An hour ahead or back changes nothing: no burst nor slot is given twice, and nobody waits."""
    rate = drip(most=10, burst=10, interval=1.0)
    assert draw(store, rate) == [10]
    assert hold(store, "p", 10, seconds=20) == 10
    clocks.day += jump
    assert draw(store, rate) == [0]
    assert hold(store, "q", 1) == 0
    clocks.ticks += 3.0
    assert draw(store, rate) == [3]
    clocks.ticks += 17.0
    assert hold(store, "q", 10) == 10


def test_slots_until_the_time_is_over(store: Store, clocks: Clocks) -> None:
    """Up to its last moment and not longer; said again, from then on."""
    assert hold(store, "p", 6, seconds=10) == 6
    clocks.ticks += 9.99
    assert hold(store, "q", 10) == 4
    assert hold(store, "p", 6, seconds=10) == 6
    clocks.ticks += 9.99
    assert hold(store, "q", 10) == 4
    clocks.ticks += 0.01
    assert hold(store, "q", 10) == 10
    assert hold(store, "p", 6) == 0


def test_many_that_are_over_at_once(store: Store, clocks: Clocks) -> None:
    """All their slots are free in their last moment, also those of which nothing has been dropped yet."""
    many = 3 * LOOKS
    assert [hold(store, f"dead{number}", 1, limit=many, seconds=10) for number in range(many)] == [1] * many
    clocks.ticks += 9.99
    assert hold(store, "p", many, limit=many) == 0
    clocks.ticks += 0.01
    assert hold(store, "p", many, limit=many) == many


def test_a_machine_that_begins_anew(clocks: Clocks, tmp_path: Path) -> None:
    """Its ticks do so too: what is owed stays owed and is paid from then on; slots of those that died with it
    come back after their time, and neither waits for the ticks to catch up.
    """
    store = SqliteStore(tmp_path / "budgets.db", lambda: clocks.day, lambda: clocks.ticks)
    rate = drip(most=10, burst=10, interval=1.0)
    assert draw(store, rate) == [10]
    assert hold(store, "dead", 10, seconds=20) == 10
    clocks.ticks = 5.0
    assert store.draw([rate]) == (Drawn(0, 1.0 + TICK, 0),)
    assert hold(store, "p", 1, seconds=600) == 0
    clocks.ticks += 4.0
    assert draw(store, rate) == [4]
    clocks.ticks += 15.99
    assert hold(store, "p", 1, seconds=600) == 0
    clocks.ticks += 0.01
    assert hold(store, "p", 1, seconds=600) == 1
    store.close()


def _rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert isinstance(count, int)
        return count


@pytest.fixture(params=["memory", "sqlite"])
def counted(
    request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks
) -> Iterator[tuple[Store, Callable[[], int], Callable[[], int]]]:
    """A store, and how many rates and how many slots it keeps."""
    if request.param == "memory":
        inside = MemoryStore(ticks=lambda: clocks.ticks)
        yield inside, lambda: len(inside._rates._debts), lambda: len(inside._slots._leases)
        return
    path = tmp_path / "budgets.db"
    store = SqliteStore(path, ticks=lambda: clocks.ticks)
    yield store, lambda: _rows(path, "rates"), lambda: _rows(path, "slots")
    store.close()


def test_forgotten_when_full(
    counted: tuple[Store, Callable[[], int], Callable[[], int]], clocks: Clocks
) -> None:
    """A rate is kept as long as it owes anything; then new ones drop it, a few at a time."""
    store, rates, _ = counted
    for number in range(3 * LOOKS):
        draw(store, drip(f"old{number}", interval=10.0))
    clocks.ticks += 9.99
    draw(store, drip("new", interval=HOUR))
    assert rates() == 3 * LOOKS + 1
    clocks.ticks += 0.01
    for number, left in enumerate([2 * LOOKS, LOOKS, 0, 0]):
        draw(store, drip(f"new{number}", interval=HOUR))
        assert left + 1 <= rates() <= left + 1 + 2 * (number + 1)
    assert draw(store, drip("new", most=10, interval=HOUR)) == [9]


def test_forgotten_when_over(
    counted: tuple[Store, Callable[[], int], Callable[[], int]], clocks: Clocks
) -> None:
    """Slots of processes that say nothing more, of names that nobody asks for, do not pile up."""
    store, _, slots = counted
    for number in range(3 * LOOKS):
        hold(store, "dead", 1, name=f"old{number}", seconds=10)
    assert slots() == 3 * LOOKS
    clocks.ticks += 10
    for number, left in enumerate([2 * LOOKS, LOOKS, 0, 0]):
        hold(store, "p", 1, name=f"new{number}", seconds=HOUR)
        assert left + 1 <= slots() <= left + 2 * (number + 1)
    store.hold("p", [Hold(f"new{number}", 1, 0) for number in range(4)], 10)
    assert slots() == 0


def test_memory_has_room_for_so_many_rates(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who find none share one bucket, and bring along what it owes when they get one of their own: a
    flood of names makes nobody richer. Those who are there go on.
    """
    monkeypatch.setattr(memory_rates, "MOST", 2)
    store = MemoryStore(ticks=lambda: clocks.ticks)
    assert draw(store, drip("a", most=4, interval=1.0), drip("b", most=10, interval=1.0)) == [4, 10]
    assert draw(store, drip("c", most=6, interval=1.0), drip("d", most=9, interval=1.0)) == [6, 4]
    assert draw(store, drip("e", most=9, interval=1.0), drip("a", most=9, interval=1.0)) == [0, 6]
    assert draw(store, drip("f", most=9, interval=2.0)) == [9]
    clocks.ticks += 9.0
    assert draw(store, drip("c", most=5, interval=1.0)) == [5]
    clocks.ticks += 1.0
    # "a" and "b" are full again, so there is room: "c" is owed what all the others drew.
    assert draw(store, drip("c", most=10, interval=1.0)) == [5]
    assert len(store._rates._debts) <= 2


def test_memory_has_room_for_slots_of_so_many_names(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more has none, until others have let theirs go or their time is over; those who are there go on."""
    monkeypatch.setattr(memory_slots, "MOST", 2)
    store = MemoryStore(ticks=lambda: clocks.ticks)
    assert [hold(store, "p", 1, name=name, seconds=10) for name in "abc"] == [1, 1, 0]
    assert [hold(store, "q", 1, name=name, seconds=10) for name in "abc"] == [1, 1, 0]
    assert [hold(store, process, 0, name="a") for process in "pq"] == [0, 0]
    assert [hold(store, "p", 1, name=name, seconds=10) for name in "cda"] == [1, 0, 0]
    clocks.ticks += 10
    assert [hold(store, "p", 1, name=name, seconds=10) for name in "dea"] == [1, 1, 0]
