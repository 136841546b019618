"""What every store promises of rates, held against each of them: memory, SQLite and a real Redis."""

from __future__ import annotations

from math import inf, nan

import pytest

from guardhouse.interceptors.limits.stores import Drawn, Drip, Store
from guardhouse.interceptors.limits.stores.checks import LATEST, MOST

from .accounts import SLOW, account, draw, drip, hold, spent, take


def test_draws_as_many_as_pass(store: Store) -> None:
    """Up to the most that is wanted, then what is left of the burst, then none."""
    assert store.draw([drip(least=1, most=7)]) == (Drawn(7, 0.0, 3),)
    assert store.draw([drip(least=1, most=7)]) == (Drawn(3, 0.0, 0),)
    assert draw(store, drip(least=1, most=7)) == [0]


def test_too_few_draw_nothing(store: Store) -> None:
    """Fewer than the least that is wanted: none are drawn, it is told how long to wait for them, and what is
    left can still be drawn.
    """
    assert draw(store, drip(most=8)) == [8]
    (short,) = store.draw([drip(least=4, most=5)])
    assert (short.units, short.left) == (0, 2)
    assert short.wait == pytest.approx(2 * SLOW, rel=1e-3)
    assert store.draw([drip(least=2, most=5)]) == (Drawn(2, 0.0, 0),)


def test_more_than_the_burst_never_passes(store: Store) -> None:
    """Not even of a rate that is full: nobody need wait for it. Nothing is drawn by asking."""
    assert store.draw([drip(least=11, most=20)]) == (Drawn(0, inf, 10),)
    assert store.draw([drip(least=10, most=20)]) == (Drawn(10, 0.0, 0),)
    assert store.draw([drip(least=11, most=20)]) == (Drawn(0, inf, 0),)
    assert store.draw([Drip("bob", 1.0, 0.5, 1, 1)]) == (Drawn(0, inf, 0),)


def test_each_rate_by_itself(store: Store) -> None:
    """One that gives nothing keeps nothing from the others; answers come in the order of what was asked."""
    assert draw(store, drip("bob", most=10)) == [10]
    wanted = [drip("ann", most=4), drip("bob"), drip("cid", most=99), drip("ann@x")]
    assert draw(store, *wanted) == [4, 0, 10, 1]
    assert draw(store, drip("cid"), drip("ann", most=99)) == [0, 6]


def test_nothing_drawn(store: Store) -> None:
    """No drips are no trouble."""
    assert store.draw([]) == ()


def test_filled_up_in_time(store: Store) -> None:
    """A rate of ten million a second is as good as always full: by any clock."""
    fast = drip(most=10, interval=1e-7)
    assert [draw(store, fast) for _ in range(20)] == [[10]] * 20


def test_what_was_drawn_stays_drawn_at_another_pace(store: Store) -> None:
    """A policy that changes a rate does not give out the burst once more; what is owed is then paid at the
    new pace.
    """
    assert draw(store, drip(most=10, burst=10)) == [10]
    assert draw(store, drip(most=99, burst=15, interval=2 * SLOW)) == [5]
    (short,) = store.draw([drip(burst=1, interval=10_000.0)])
    assert short.wait == pytest.approx(15 * 10_000.0, rel=1e-2)


@pytest.mark.parametrize(
    "name", ["a*", "a@2100-01", "{x}", "ü%_ y", "'; DROP TABLE rates", "x" * 1024, "é" * 512]
)
def test_a_name_is_taken_as_it_is(store: Store, name: str) -> None:
    """Of whatever printable characters, and up to 1 KiB."""
    assert draw(store, drip(name, most=10), drip("a", most=9)) == [10, 9]
    assert draw(store, drip(name), drip("a")) == [0, 1]


def test_the_largest_burst(store: Store) -> None:
    """Up to 2**53 - 1 units, no more are drawn than there are, but for a thousand millionth of them."""
    large = Drip("ann", 1e-4, MOST * 1e-4, 1, MOST)
    drawn = [draw(store, large)[0] for _ in range(3)]
    assert MOST <= sum(drawn) <= MOST * (1 + 1e-8)
    assert draw(store, Drip("bob", LATEST, LATEST, 1, MOST)) == [1]


def test_not_a_unit_is_lost_to_rounding(store: Store) -> None:
    """A burst of three is three, though 0.3 / 0.1 is less; and a large one is given to its last unit."""
    assert draw(store, Drip("ann", 0.1, 0.3, 3, 9)) == [3]
    assert draw(store, drip("bob", most=12_345_678, burst=10**8, interval=1e4)) == [12_345_678]
    assert draw(store, drip("bob", most=10**8, burst=10**8, interval=1e4)) == [87_654_322]


def test_rates_slots_and_budgets_of_one_name(store: Store) -> None:
    """Say nothing of each other; the entries of budgets tell no others, and to reset one touches no rate."""
    assert draw(store, drip(most=10)) == [10]
    assert hold(store, "p", 10) == 10
    assert take(store, 3, account()) == 3
    assert list(spent(store).values()) == [3]
    assert store.reset("ann") == 1
    assert draw(store, drip()) == [0]
    assert hold(store, "q", 1) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        drip(""),
        drip("a\nb"),
        drip("x" * 1025),
        drip("é" * 513),
        drip("\ud800"),
        *[Drip("ann", interval, 10.0, 1, 1) for interval in (0.0, -1.0, nan, inf, 1e-300, LATEST * 2)],
        *[Drip("ann", 1.0, tolerance, 1, 1) for tolerance in (0.0, -1.0, nan, inf, LATEST * 2)],
        Drip("ann", 1e-9, LATEST, 1, 1),
        *[drip(least=least, most=most) for least, most in ((0, 1), (-1, 1), (2, 1), (1, MOST + 1))],
    ],
)
def test_what_cannot_be_drawn(store: Store, wrong: Drip) -> None:
    """Is refused before anything is done, even as the second of two, in the same way by every store."""
    with pytest.raises(ValueError, match=r"^(the name of a rate|a rate has|cannot draw)"):
        store.draw([drip("bob", most=10), wrong])
    assert draw(store, drip("bob", most=10)) == [10]


def test_one_rate_twice_in_a_step(store: Store) -> None:
    """Cannot be asked: which of the two should the answer be of?"""
    with pytest.raises(ValueError, match="twice"):
        store.draw([drip(), drip(burst=11)])
    assert draw(store, drip(most=10)) == [10]
