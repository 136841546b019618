"""What every store of budgets promises, held against each of them: memory, SQLite and a real Redis."""

from __future__ import annotations

import pytest

from guardhouse.interceptors.limits.stores import Account, Entry, Short, Store, StoreError, Want, memory
from guardhouse.interceptors.limits.stores.checks import MOST

from .accounts import ENDS, WINDOW, account, spent, take


def test_takes_as_many_as_there_are(store: Store) -> None:
    """Up to the most that is wanted, then what is left of the limit, then nothing if nothing will do."""
    ann = account(limit=10)
    assert store.take([Want(ann, 1, 7)]) == (7,)
    assert store.take([Want(ann, 1, 7)]) == (3,)
    assert store.take([Want(ann, 0, 7)]) == (0,)
    assert spent(store) == {("ann", WINDOW): 10}


def test_too_few_take_nothing(store: Store) -> None:
    """Fewer than the least that is wanted: nothing is taken, and it is told what is left."""
    ann = account(limit=10)
    assert take(store, 7, ann) == 7
    assert store.take([Want(ann, 4, 5)]) == Short(ann, 3)
    assert spent(store) == {("ann", WINDOW): 7}


def test_all_accounts_or_none(store: Store) -> None:
    """One account of three is short, the last: nothing is taken from the others, nor do they come to be."""
    ann, bob, all_of_us = account("ann"), account("bob"), account("all", limit=2)
    assert take(store, 1, ann) == 1
    assert store.take([Want(ann, 1, 5), Want(bob, 1, 5), Want(all_of_us, 3, 5)]) == Short(all_of_us, 2)
    assert spent(store) == {("ann", WINDOW): 1}
    assert store.take([Want(ann, 1, 5), Want(bob, 1, 6), Want(all_of_us, 1, 5)]) == (5, 6, 2)


def test_the_first_that_is_short_is_told(store: Store) -> None:
    """Of two accounts that are short, the one that was named first is the answer."""
    ann, bob = account("ann", limit=1), account("bob", limit=2)
    assert store.take([Want(bob, 9, 9), Want(ann, 9, 9)]) == Short(bob, 2)


def test_nothing_wanted(store: Store) -> None:
    """No wants and no units are no trouble, and leave nothing behind."""
    assert store.take([]) == ()
    store.give([])
    assert list(store.entries()) == []


def test_a_window_is_an_account_of_its_own(store: Store) -> None:
    """What is spent in one month says nothing of the next, nor one name of a longer one."""
    november, december = account(window="2026-11"), account(window="2026-12")
    assert [take(store, 10, each) for each in (november, december, account("ann@x"))] == [10, 10, 10]


def test_given_back(store: Store) -> None:
    """What is given back can be taken again, by anybody; an account may be named twice."""
    ann, bob = account("ann"), account("bob")
    store.take([Want(ann, 10, 10), Want(bob, 10, 10)])
    store.give([(ann, 3), (bob, 0), (ann, 4)])
    assert spent(store) == {("ann", WINDOW): 3, ("bob", WINDOW): 10}
    assert store.take([Want(ann, 1, 99)]) == (7,)


def test_never_more_than_the_limit_given(store: Store) -> None:
    """More given back than was taken: spent falls to nothing and no further."""
    ann = account(limit=10)
    take(store, 5, ann)
    store.give([(ann, 8)])
    assert spent(store) == {("ann", WINDOW): 0}
    assert store.take([Want(ann, 1, 99)]) == (10,)


def test_given_to_nobody(store: Store) -> None:
    """An account that is not there, or was reset since, does not come to be by giving."""
    ann = account()
    take(store, 5, ann)
    store.reset("ann")
    store.give([(ann, 5), (account("bob"), 5)])
    assert list(store.entries()) == []


def test_a_lowered_limit_holds_at_once(store: Store) -> None:
    """Below what is spent, nothing is left; raised again, the difference is: what was spent is not lost."""
    take(store, 8, account(limit=10))
    assert store.take([Want(account(limit=5), 1, 1)]) == Short(account(limit=5), 0)
    assert store.take([Want(account(limit=5), 0, 1)]) == (0,)
    assert store.take([Want(account(limit=12), 1, 99)]) == (4,)


def test_the_newest_limit_is_told(store: Store) -> None:
    """Entries show the limit and the end of the newest `take`; giving back tells nothing new of them."""
    take(store, 1, account(limit=10))
    take(store, 1, account(limit=20, ends=ENDS + 1.5))
    store.give([(account(limit=30, ends=ENDS + 9), 1)])
    assert list(store.entries()) == [Entry("ann", WINDOW, 20, 1, ENDS + 1.5)]


def test_the_largest_limit(store: Store) -> None:
    """Up to 2**53 - 1 not a unit is lost to rounding, neither in taking nor in giving nor in telling."""
    ann = account(limit=MOST)
    assert take(store, MOST - 1, ann) == MOST - 1
    assert store.take([Want(ann, 1, MOST)]) == (1,)
    assert store.take([Want(ann, 1, 1)]) == Short(ann, 0)
    store.give([(ann, 1)])
    assert [entry.spent for entry in store.entries()] == [MOST - 1]


def test_entries_in_order(store: Store) -> None:
    """All accounts, whoever's and of whatever letters, in the order of name and window."""
    names = ["b", "a:b", "a", "é", "a@b", "{x}", "a*"]
    for name in names:
        for window in ("2026-12", "2026-11"):
            take(store, 1, account(name, window=window))
    told = [(entry.name, entry.window) for entry in store.entries()]
    assert told == sorted((name, window) for name in names for window in ("2026-11", "2026-12"))


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]", "a@b", "a\\b", "^a", "a", "{a}", "a b", "ü%_"])
def test_reset_forgets_one_name_and_no_other(store: Store, name: str) -> None:
    """In all windows; a name is taken as it is, and never for a pattern or the beginning of others."""
    others = ["ab", "a-b", "b", "a@b@c", "aa", "x@a"]
    for each in [name, *others]:
        take(store, 1, account(each))
    take(store, 1, account(name, window="2099-12"))
    assert store.reset(name) == 2
    assert set(spent(store)) == {(other, WINDOW) for other in others}
    assert store.reset(name) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        Want(account(""), 1, 1),
        Want(account("a\nb"), 1, 1),
        Want(account("\ud800"), 1, 1),
        Want(account("é" * 513), 1, 1),
        Want(account(window=""), 1, 1),
        Want(account(window="2026@11"), 1, 1),
        Want(account(limit=0), 1, 1),
        Want(account(limit=MOST + 1), 1, 1),
        Want(account(ends=float("nan")), 1, 1),
        Want(account(ends=float("inf")), 1, 1),
        Want(account(), -1, 1),
        Want(account(), 2, 1),
    ],
    ids=repr,
)
def test_what_cannot_be_asked(store: Store, wrong: Want) -> None:
    """Is refused before anything is done, even as the second of two wants, in the same way by every store."""
    with pytest.raises(ValueError, match=r"^(the name|a window|a limit|cannot want)"):
        store.take([Want(account("bob"), 1, 1), wrong])
    assert list(store.entries()) == []


def test_one_account_twice_in_a_step(store: Store) -> None:
    """Cannot be asked: each of the two would be allowed what is left. Other limits do not make it another."""
    with pytest.raises(ValueError, match="twice"):
        store.take([Want(account(limit=10), 10, 10), Want(account(limit=11), 10, 10)])
    assert list(store.entries()) == []


@pytest.mark.parametrize(("of", "units"), [(account(), -1), (account(""), 1), (account(), MOST + 1)])
def test_what_cannot_be_given(store: Store, of: Account, units: int) -> None:
    """Fewer than no units would be a way to spend past the limit."""
    take(store, 5, account())
    with pytest.raises(ValueError, match=r"^(the name|cannot give)"):
        store.give([(account(), 1), (of, units)])
    assert spent(store) == {("ann", WINDOW): 5}


def test_closed_twice(store: Store) -> None:
    """To close a store is idempotent."""
    store.close()
    store.close()


def test_memory_takes_no_more_accounts_than_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of holders is refused, and drops nobody's spending; those who are there go on."""
    monkeypatch.setattr(memory, "MOST", 3)
    store = memory.MemoryStore()
    accounts = [Account(f"a{number}", "2100-01", 10, 4e9) for number in range(5)]
    for each in accounts[:3]:
        assert store.take([Want(each, 7, 7)]) == (7,)
    with pytest.raises(StoreError, match="more than 3 accounts"):
        store.take([Want(accounts[3], 1, 1)])

    assert store.take([Want(accounts[0], 3, 3)]) == (3,)
    assert store.take([Want(accounts[0], 1, 1)]) == Short(accounts[0], 0)
