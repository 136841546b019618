"""What every store promises of slots, held against each of them: memory, SQLite and a real Redis."""

from __future__ import annotations

from math import inf, nan

import pytest

from guardhouse.interceptors.limits.stores import Hold, Store
from guardhouse.interceptors.limits.stores.checks import LONGEST_HOLD, MOST
from guardhouse.interceptors.limits.stores.slots import granted

from .accounts import hold
from .redis_servers import wait_for


@pytest.mark.parametrize(
    ("limit", "slots", "others", "has"),
    [(10, 0, 0, 0), (10, 4, 0, 4), (10, 4, 6, 4), (10, 4, 7, 3), (10, 4, 10, 0), (10, 10, 12, 0)],
)
def test_what_others_leave(limit: int, slots: int, others: int, has: int) -> None:
    """All that is wanted, or what is left; where others have more than the limit, none."""
    assert granted(Hold("ann", limit, slots), others) == has


def test_never_more_together_than_the_limit(store: Store) -> None:
    """What others have is not to be had; what they give up, is."""
    assert hold(store, "p", 7) == 7
    assert hold(store, "q", 7) == 3
    assert hold(store, "r", 1) == 0
    assert hold(store, "p", 2) == 2
    assert hold(store, "q", 7) == 7
    assert hold(store, "r", 5) == 1


def test_said_twice_is_the_same(store: Store) -> None:
    """It tells what is: whoever is not sure whether it was heard says it again."""
    assert [hold(store, "p", 7) for _ in range(3)] == [7, 7, 7]
    assert hold(store, "q", 7) == 3
    assert [hold(store, "p", slots) for slots in (7, 3, 3, 9)] == [7, 3, 3, 7]


def test_none_are_let_go(store: Store) -> None:
    """A process that has none is as one that never was; to say so once more is no trouble."""
    assert hold(store, "p", 10) == 10
    assert [hold(store, "p", 0), hold(store, "p", 0), hold(store, "q", 0)] == [0, 0, 0]
    assert hold(store, "q", 10) == 10


def test_a_lowered_limit_holds_at_once(store: Store) -> None:
    """Who says next what it has gets what those of others leave under the new limit."""
    assert hold(store, "p", 6) == 6
    assert hold(store, "q", 4) == 4
    assert hold(store, "p", 5, limit=5) == 1
    assert hold(store, "q", 5, limit=5) == 4
    assert hold(store, "q", 3, limit=3) == 2
    assert hold(store, "r", 1, limit=1) == 0
    assert hold(store, "p", 5, limit=20) == 5


def test_each_name_by_itself(store: Store) -> None:
    """One that has no room keeps nothing from the others; answers come in the order of what was asked."""
    assert hold(store, "q", 10) == 10
    wanted = [Hold("ann", 10, 1), Hold("bob", 3, 3), Hold("ann@x", 1, 1), Hold("cid", 9, 0)]
    assert store.hold("p", wanted, 600) == (0, 3, 1, 0)
    assert store.hold("q", [Hold("bob", 3, 3), Hold("cid", 9, 9)], 600) == (0, 9)


def test_names_that_are_not_said_stay(store: Store) -> None:
    """To say something of one name says nothing of another; nor does nothing at all."""
    assert hold(store, "p", 10) == 10
    assert hold(store, "p", 1, name="bob") == 1
    assert store.hold("p", [], 600) == ()
    assert hold(store, "q", 1) == 0


def test_over_when_its_time_is(store: Store) -> None:
    """A process that says nothing more has its slots for its time, and then others may; each for its own."""
    assert hold(store, "p", 6, seconds=0.2) == 6
    assert hold(store, "r", 3) == 3
    wait_for(lambda: hold(store, "q", 7) == 7)
    assert hold(store, "p", 6) == 0


def test_time_begins_anew_each_time(store: Store) -> None:
    """Long after its first time is over, a process that has said so again still has its slots."""
    assert hold(store, "p", 10, seconds=0.2) == 10
    assert hold(store, "p", 10, seconds=600) == 10
    assert hold(store, "x", 10, name="mark", seconds=0.3) == 10
    wait_for(lambda: hold(store, "q", 10, name="mark") == 10)
    assert hold(store, "q", 1) == 0


@pytest.mark.parametrize("process", ["p", "p" * 64, "host:1234/ab-cd", "é%_*'"])
def test_processes_are_told_apart(store: Store, process: str) -> None:
    """By any printable characters, up to 64."""
    assert hold(store, process, 9) == 9
    assert hold(store, process[:-1] + "!", 9) == 1
    assert hold(store, process, 9) == 9


def test_the_largest_limit(store: Store) -> None:
    """Up to 2**53 - 1 not a slot is lost to rounding."""
    assert hold(store, "p", MOST - 1, limit=MOST) == MOST - 1
    assert hold(store, "q", MOST, limit=MOST) == 1
    assert hold(store, "r", 1, limit=MOST) == 0


@pytest.mark.parametrize(
    ("process", "wrong", "seconds"),
    [
        *[(process, Hold("ann", 10, 1), 600.0) for process in ("", "p" * 65, "p q", "p\n")],
        *[("p", Hold("ann", 10, 1), seconds) for seconds in (0.0, -1.0, nan, inf, LONGEST_HOLD + 1)],
        *[("p", Hold(name, 10, 1), 600.0) for name in ("", "a\nb", "x" * 1025, "\ud800")],
        *[("p", Hold("ann", *numbers), 600.0) for numbers in ((10, 11), (10, -1), (0, 0), (-1, -1))],
        ("p", Hold("ann", MOST + 1, 1), 600.0),
    ],
)
def test_what_cannot_be_held(store: Store, process: str, wrong: Hold, seconds: float) -> None:
    """Is refused before anything is done, even as the second of two, in the same way by every store."""
    with pytest.raises(ValueError, match=r"^(a process|slots are held|the name of slots|cannot hold)"):
        store.hold(process, [Hold("bob", 10, 10), wrong], seconds)
    assert hold(store, "q", 10, name="bob") == 10


def test_one_name_twice_in_a_step(store: Store) -> None:
    """Cannot be said: which of the two is it?"""
    with pytest.raises(ValueError, match="twice"):
        store.hold("p", [Hold("ann", 10, 1), Hold("ann", 11, 2)], 600)
    assert hold(store, "q", 10) == 10
