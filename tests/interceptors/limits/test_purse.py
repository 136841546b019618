"""Units in hand: never more spent than a budget has, and nearly all of it can be."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors.limits.budget import purse as purse_module
from guardhouse.interceptors.limits.budget.purse import AHEAD, AT_ONCE, DRY, IDLE, STUCK, Purse
from guardhouse.interceptors.limits.stores import Account, Short, StoreError, UnaskedError, Want
from guardhouse.interceptors.limits.stores.memory import MemoryStore

ENDS = 4e9


def account(limit: int, name: str = "a") -> Account:
    return Account(name, "2026-11-25", limit, ENDS)


class Watched(MemoryStore):
    """Counts how often it is asked; fails when told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.error: StoreError | None = None

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        self.asked += 1
        if self.error:
            raise self.error
        return super().take(wants)

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        if self.error:
            raise self.error
        super().give(units)

    @property
    def spent(self) -> int:
        return sum(entry.spent for entry in self.entries())


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
def purse(store: Watched) -> Iterator[Purse]:
    made = Purse(store)
    yield made
    store.error = None
    made.close()


def pay(purse: Purse, costs: dict[Account, int], exact: bool = False) -> bool:
    """Reserve as the guard does: whether all of it was."""
    found = purse.reserve(list(costs.items()), exact)
    if found is False:
        found = purse.fetch(list(costs.items()), exact) is None
    return found is True


def test_what_is_in_hand_is_spent_without_asking(store: Watched, purse: Purse) -> None:
    """One question brings a five-hundredth of the budget, and the calls that it pays for ask no more."""
    day = account(AHEAD * 10)
    paid = [pay(purse, {day: 1}) for _ in range(11)]

    assert (all(paid), store.asked, store.spent) == (True, 1, 11)


def test_a_small_budget_is_asked_for_every_call(store: Watched, purse: Purse) -> None:
    """Where a five-hundredth is nothing, nothing lies in a hand while another process wants it."""
    day = account(20)
    paid = [pay(purse, {day: 1}) for _ in range(25)]

    assert (sum(paid), store.spent) == (20, 20)


def test_an_exact_budget_is_asked_for_every_call(store: Watched, purse: Purse) -> None:
    """Whatever is in hand, of large budgets too."""
    day = account(10**9)
    for _ in range(5):
        pay(purse, {day: 3}, exact=True)

    assert (store.asked, store.spent) == (5, 15)


def test_all_or_nothing(store: Watched, purse: Purse) -> None:
    """A call that one of its accounts cannot pay for takes nothing from the others."""
    rich, poor = account(1000, "rich"), account(3, "poor")
    refused = purse.fetch([(rich, 10), (poor, 4)])

    assert refused == Short(poor, 3)
    assert store.spent == 0
    assert not pay(purse, {rich: 10, poor: 4})
    assert pay(purse, {rich: 10, poor: 3})


def test_what_was_not_used_is_used_by_the_next_call(store: Watched, purse: Purse) -> None:
    """A refund comes back into the hand, and is spent from there."""
    day = account(10)
    pay(purse, {day: 8})
    purse.refund([(day, 7)])

    assert pay(purse, {day: 7})
    assert (store.asked, store.spent, purse.left(day)) == (1, 8, 2)


def test_idle_units_go_back(store: Watched, purse: Purse) -> None:
    """What nobody touched for `IDLE` seconds can be spent by others."""
    day = account(AHEAD * 100)
    pay(purse, {day: 1})
    taken = store.spent
    ended = threading.Event()
    while store.spent != 1:
        assert not ended.wait(IDLE / 10)

    assert taken == 101


def test_an_account_that_had_too_little_is_left_alone_for_a_moment(store: Watched) -> None:
    """A flood on an empty account does not become a flood on the store; what comes back is seen soon."""
    now = 100.0
    purse, day = Purse(store, clock=lambda: now), account(1)
    assert pay(purse, {day: 1})
    refused = [pay(purse, {day: 1}) for _ in range(50)]
    asked = store.asked
    store.reset("a")
    now += DRY

    assert (any(refused), asked) == (False, 2)
    assert pay(purse, {day: 1})
    purse.close()


def test_units_that_cannot_be_given_back_are_spent(store: Watched) -> None:
    """A gift that failed may have arrived: given again, it would be there twice."""
    purse, day = Purse(store), account(AHEAD * 100)
    pay(purse, {day: 1})
    store.error = StoreError("gone")
    with pytest.raises(StoreError, match="gone"):
        purse.close()
    store.error = None
    purse.close()

    assert store.spent == 101


def test_units_of_a_store_that_was_not_asked_are_kept(store: Watched) -> None:
    """Nothing happened, so it is tried again."""
    purse, day = Purse(store), account(AHEAD * 100)
    pay(purse, {day: 1})
    store.error = UnaskedError("the breaker is open")
    with pytest.raises(UnaskedError):
        purse.close()
    store.error = None
    purse.close()

    assert store.spent == 1


def test_debts_are_paid_once_and_never_more_than_there_is(store: Watched, purse: Purse) -> None:
    """Of what is in hand at once; the rest from the store, also where it was away for a moment."""
    day = account(20)
    pay(purse, {day: 5})
    purse.refund([(day, 2)])
    store.error = UnaskedError("the breaker is open")
    purse.owe([(day, 9)])
    with pytest.raises(UnaskedError):
        purse._pay_debts()
    store.error = None
    purse._pay_debts()
    purse._pay_debts()
    assert (store.spent, purse.left(day)) == (12, 8)
    purse.owe([(day, 100)])
    purse._pay_debts()
    assert (store.spent, purse.left(day)) == (20, 0)


def test_a_store_that_fails_costs_nothing_that_was_in_hand(store: Watched, purse: Purse) -> None:
    """What was set aside for the question is in hand again."""
    day = account(AHEAD * 10)
    pay(purse, {day: 1})
    store.error = StoreError("gone")
    with pytest.raises(StoreError):
        purse.fetch([(day, 30)])

    assert pay(purse, {day: 10})
    assert store.spent == 11


def test_nobody_waits_behind_a_store_that_hangs(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited too long for a turn is refused, and all others at once, until a while has gone by."""
    now, asking, answer, take = 100.0, threading.Event(), threading.Event(), store.take
    purse, day = Purse(store, clock=lambda: now), account(1000)

    def hang(wants: Sequence[Want]) -> tuple[int, ...] | Short:
        asking.set()
        assert answer.wait(20)
        return take(wants)

    monkeypatch.setattr(store, "take", hang)
    monkeypatch.setattr(purse_module, "PATIENCE", 0.01)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(purse.fetch, [(day, 1)])
        assert asking.wait(20)
        with pytest.raises(UnaskedError, match="does not answer"):
            purse.fetch([(day, 1)])
        monkeypatch.setattr(purse_module, "PATIENCE", 3600.0)
        for ask in (purse.fetch, lambda costs: purse.left(costs[0][0])):
            with pytest.raises(UnaskedError, match="does not answer"):
                ask([(day, 5)])
        answer.set()
        assert first.result() is None
    now += STUCK
    assert purse.fetch([(day, 5)]) is None
    purse.close()


def test_many_idle_accounts_go_back_in_many_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store has little time for each; one that fails costs the units of its own question and no more."""
    store = MemoryStore()
    purse, sizes, give = Purse(store), [], store.give
    accounts = [account(AHEAD * 2, f"a{number}") for number in range(AT_ONCE * 2 + 1)]
    for each in accounts:
        pay(purse, {each: 1})

    def second_fails(units: Sequence[tuple[Account, int]]) -> None:
        sizes.append(len(units))
        if len(sizes) == 2:
            raise StoreError("gone")
        give(units)

    monkeypatch.setattr(store, "give", second_fails)
    with pytest.raises(StoreError, match="gone"):
        purse._give_back(older_than=float("inf"))
    purse.close()

    assert sizes == [AT_ONCE, AT_ONCE, 1]
    assert sum(entry.spent for entry in store.entries()) == len(accounts) + 2 * AT_ONCE


Step = tuple[int, str, int, int]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["pay", "exact", "both", "refund"]),
        st.integers(0, 40),
        st.integers(0, 9),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, limits=st.tuples(st.integers(1, 2000), st.integers(1, 300)))
def test_no_order_of_calls_spends_more_than_there_is(steps: list[Step], limits: tuple[int, int]) -> None:
    """Three processes, two accounts, any order: what calls hold is never more than the limit, and the store
    never thinks less was spent; when all is given back, exactly what calls hold is spent."""
    store = MemoryStore()
    purses = [Purse(store) for _ in range(3)]
    accounts = [account(limits[0], "a"), account(limits[1], "b")]
    held: list[tuple[Account, int]] = []

    def spent(of: Account) -> int:
        return sum(entry.spent for entry in store.entries() if entry.name == of.name)

    for who, what, cost, which in steps:
        chosen = accounts if what == "both" else [accounts[which % 2]]
        if what == "refund" and held:
            purses[who].refund([held.pop(which % len(held))])
        elif what != "refund" and pay(purses[who], dict.fromkeys(chosen, cost), exact=what == "exact"):
            held += [(each, cost) for each in chosen]
        for each in accounts:
            assert sum(units for of, units in held if of == each) <= spent(each) <= each.limit
    for purse in purses:
        purse.close()
    for each in accounts:
        assert spent(each) == sum(units for of, units in held if of == each)


def test_what_a_store_refuses_to_be_asked_strands_nothing_in_hand() -> None:
    """Its ValueError is our mistake; what another account had in hand is there for the next call."""
    day, bad = account(5000), account(5000, "a" * 2000)
    with closing(Purse(MemoryStore())) as purse:
        purse.fetch([(day, 1)])
        for _ in range(3):
            with pytest.raises(ValueError, match="the name of an account"):
                purse.fetch([(day, 5), (bad, 5)])
        assert purse.left(day) == 4999


def test_what_a_busy_process_leaves_unused_goes_back() -> None:
    """Sixty calls at once reserved all there is, and needed next to nothing: though calls go on, one by one,
    another process finds the rest. A budget that is asked for exactly gets it back as well.
    """
    store, now, day = MemoryStore(), [0.0], account(3_600_000)
    with closing(Purse(store, clock=lambda: now[0])) as busy, closing(Purse(store)) as other:
        for _ in range(60):
            assert busy.fetch([(day, 60_000)], exact=True) is None
        for _ in range(60):
            busy.refund([(day, 59_999)])
        for step in range(4):
            now[0] += IDLE / 2
            busy._give_back(older_than=now[0] - IDLE)
            assert busy.fetch([(day, 60_000)], exact=step > 1) is None
            busy.refund([(day, 59_999)])
        assert other.fetch([(day, 3_600_000 * 9 // 10)]) is None
    assert sum(entry.spent for entry in store.entries()) == 64 + 3_600_000 * 9 // 10


def race(purses: Sequence[Purse], day: Account, callers: int, tries: int) -> int:
    """Units that *callers* threads could pay, each trying so often through one of *purses*."""

    def work(place: int) -> int:
        return sum(pay(purses[place % len(purses)], {day: 1}) for _ in range(tries))

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(work, range(callers)))


def test_64_callers_race_one_budget() -> None:
    """Of a budget of 5,000 for 12,800 tries all is spent, and not one more: directly, and through a purse."""
    day = account(5000)
    with closing(Purse(MemoryStore(), waits=False)) as memory, closing(Purse(MemoryStore())) as purse:
        assert race([memory], day, 64, 200) == 5000
        assert race([purse], day, 64, 200) == 5000


def test_four_purses_race_one_budget() -> None:
    """Four processes' worth of purses: nothing overspent, and at least 99 % could be spent at once."""
    store, day = MemoryStore(), account(5000)
    purses = [Purse(store) for _ in range(4)]
    paid = race(purses, day, 64, 200)
    for purse in purses:
        purse.close()

    assert 4950 <= paid <= 5000
    assert sum(entry.spent for entry in store.entries()) == paid
