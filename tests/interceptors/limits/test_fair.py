"""Whose turn it is: held against a slow and obvious reading of the rules, and against the promise itself."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors.limits.fair import MOST_RESTING, Caller, Ticket
from guardhouse.interceptors.limits.lane import Lane

LOTS = 10**9


def _lane(slots: int = 1, most: int = 1000, most_bytes: int = LOTS) -> Lane:
    lane = Lane(slots, most, most_bytes)
    while lane.take():
        pass
    return lane


def _join(
    lane: Lane, who: str, weight: int = 1, priority: int = 1, size: int = 0, cost: int = 0
) -> list[str]:
    """Have a call of *who* wait; returns whose calls had to go."""
    shed = lane.join(Ticket(Caller(who, weight, priority), size, cost, who))
    return [ticket.data for ticket in shed]


def _served(lane: Lane, cost: int = 10) -> str:
    """End a call, and say whose turn it is; that one ends later."""
    lane.free += 1
    ticket = lane.next()
    assert ticket is not None
    lane.ended(ticket.caller, ticket, cost)
    lane.free -= 1
    return str(ticket.data)


def test_a_free_slot_is_taken_at_once_unless_somebody_waits() -> None:
    """The usual way costs no queue; nobody passes those who wait."""
    lane = Lane(2, 10, LOTS)
    assert [lane.take() for _ in range(3)] == [True, True, False]
    _join(lane, "a")
    lane.free += 1
    assert not lane.take()
    assert lane.next() is not None
    assert lane.next() is None


def test_higher_priority_goes_first() -> None:
    """Strictly, and in each priority first come, first served for one caller."""
    lane = _lane()
    for who, priority in (("low", 0), ("normal", 1), ("high", 2), ("high again", 2)):
        _join(lane, who, priority=priority)
    assert [_served(lane) for _ in range(4)] == ["high", "high again", "normal", "low"]


def test_who_asks_seldom_does_not_wait_for_who_asks_much() -> None:
    """Behind a hundred calls of another, a single one is the next but one at most."""
    lane = _lane()
    for _ in range(100):
        _join(lane, "much")
    _served(lane)
    _join(lane, "seldom")
    assert "seldom" in [_served(lane) for _ in range(2)]


def test_idleness_earns_no_credit() -> None:
    """Who joins after a long rest takes turns, and does not catch up."""
    lane = _lane()
    for _ in range(60):
        _join(lane, "busy")
    for _ in range(30):
        _served(lane)
    for _ in range(20):
        _join(lane, "rested")
    turns = [_served(lane) for _ in range(20)]
    assert 9 <= turns.count("rested") <= 11


def test_who_has_had_much_does_not_come_back_as_a_stranger() -> None:
    """A long call is remembered while it is ahead of others, though nothing of its caller is left here."""
    lane = _lane()
    for _ in range(10):
        _join(lane, "short")
    _join(lane, "long")
    order = [_served(lane, 10) for _ in range(1)]
    lane.free += 1
    ticket = lane.next()
    assert ticket is not None
    assert ticket.data == "long"
    lane.ended(ticket.caller, ticket, 55)
    lane.free -= 1
    _join(lane, "long")
    order = [_served(lane, 10) for _ in range(6)]
    assert order.index("long") == 5


def test_the_full_queue_sheds_the_lowest_priority_first_then_the_greediest() -> None:
    """By calls for each one's weight; the newest of them. Whoever has least finds room."""
    lane = _lane(most=6)
    for who, weight, priority in [("low", 1, 0), *[("greedy", 1, 1)] * 3, *[("heavy", 4, 1)] * 2]:
        assert _join(lane, who, weight, priority) == []
    assert _join(lane, "polite") == ["low"]
    assert _join(lane, "polite") == ["greedy"]
    assert _join(lane, "low", 1, 0) == ["low"]
    assert _join(lane, "greedy") == ["greedy"]
    assert _join(lane, "other") in (["greedy"], ["polite"])
    assert lane.fresh == 6


def test_messages_that_wait_are_bounded_by_their_bytes() -> None:
    """Also one that alone is too large."""
    lane = _lane(most_bytes=100)
    assert _join(lane, "a", size=60) == []
    assert _join(lane, "b", size=30) == []
    assert len(_join(lane, "a", size=30)) == 1
    assert _join(lane, "c", size=101)[-1] == "c"
    assert lane.bytes <= 100


def test_who_would_only_be_shed_is_known_before() -> None:
    """The one who holds its share of a full queue; not the one who would find room."""
    lane = _lane(most=4)
    for _ in range(4):
        _join(lane, "flood")
    assert lane.has_its_share(Caller("flood"))
    assert not lane.has_its_share(Caller("polite"))
    assert not lane.has_its_share(Caller("flood", 1, 2))


def test_the_expected_wait_is_that_of_the_callers_own_turn() -> None:
    """Behind its own calls, and one of each other caller for each of them; not behind the whole flood."""
    lane = _lane()
    lane.mean = 1000
    for _ in range(100):
        _join(lane, "flood")
    assert lane.expected(Caller("polite")) <= 3000
    assert lane.expected(Caller("flood")) >= 100_000
    assert lane.expected(Caller("urgent", 1, 2)) == 1000
    assert lane.expected(Caller("low", 1, 0)) >= 100_000


def test_principals_are_forgotten() -> None:
    """Under a hundred thousand names that each come once, beside one that always waits."""
    lane = _lane(most=50)
    for number in range(100_000):
        if not number % 10:
            _join(lane, "always")
        _join(lane, f"caller {number}")
        _served(lane, 10 + number % 7)
        assert lane.known() <= MOST_RESTING + 60
    while lane.waiting:
        _served(lane)
    assert lane.known() == 0


CALLERS = st.lists(
    st.tuples(st.sampled_from([1, 2, 5]), st.integers(1, 50), st.integers(1, 4)), min_size=2, max_size=6
)


@settings(max_examples=150, deadline=None)
@given(CALLERS, st.integers(1, 4), st.booleans())
def test_backlogged_callers_share_by_weight_within_a_factor_of_two(
    callers: list[tuple[int, int, int]], slots: int, guessed: bool
) -> None:
    """Whatever they send: calls of 1 to 50 ms, one at a time after the other or several waiting at once.

    The clock is counted by hand: the slot whose call ends first is free first.
    """
    lane = _lane(slots)
    lane.free = slots
    spent = [0] * len(callers)
    running: list[tuple[int, int, Ticket]] = []
    now, mean = 0, 20_000 if guessed else 0
    for number, (weight, _, many) in enumerate(callers):
        for _ in range(many + slots):
            lane.join(Ticket(Caller(number, weight), 0, mean, number))
    for step in range(3000):
        while (ticket := lane.next()) is not None:
            running.append((now + callers[ticket.data][1] * 1000, step, ticket))
        running.sort(key=lambda each: each[:2])
        now, _, ticket = running.pop(0)
        number = ticket.data
        weight, cost, _ = callers[number]
        spent[number] += cost * 1000
        lane.ended(ticket.caller, ticket, cost * 1000)
        lane.join(Ticket(Caller(number, weight), 0, mean, number))
    shares = [Fraction(used, weight) for used, (weight, *_) in zip(spent, callers, strict=True)]
    assert max(shares) <= 2 * min(shares)


class Plain:
    """The same rules without a heap: everything is looked through each time. Costs are known ahead."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.queue: list[tuple[str, int, int]] = []  # who, weight, cost
        self.reached = 0

    def join(self, who: str, weight: int, cost: int) -> None:
        if not any(each[0] == who for each in self.queue):
            self.counters[who] = max(self.counters.get(who, 0), self.reached)
        self.queue.append((who, weight, cost))

    def next(self) -> set[str]:
        """Any of those with the smallest counter."""
        lowest = min(self.counters[who] for who, *_ in self.queue)
        return {who for who, *_ in self.queue if self.counters[who] == lowest}

    def serve(self, who: str) -> None:
        entry = next(each for each in self.queue if each[0] == who)
        self.queue.remove(entry)
        self.reached = max(self.reached, self.counters[who])
        self.counters[who] += entry[2] * 1000 // entry[1]
        if not self.queue:
            self.reached = max(self.counters.values())


STEPS = st.lists(
    st.one_of(st.tuples(st.sampled_from("abcd"), st.integers(1, 30)), st.just(("serve", 0))), max_size=80
)
WEIGHTS = {"a": 1, "b": 1, "c": 3, "d": 10}


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_turns_are_those_of_the_slow_and_obvious_rules(steps: list[tuple[str, int]]) -> None:
    """At every turn the caller who is next is one with the smallest counter there."""
    lane, plain = _lane(), Plain()
    for who, cost in steps:
        if who != "serve":
            lane.join(Ticket(Caller(who, WEIGHTS[who]), 0, cost, (who, cost)))
            plain.join(who, WEIGHTS[who], cost)
        elif plain.queue:
            lane.free += 1
            ticket = lane.next()
            assert ticket is not None
            served, took = ticket.data
            assert served in plain.next()
            plain.serve(served)
            lane.ended(ticket.caller, ticket, took)
            lane.free -= 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_call_that_had_begun_goes_before_those_that_had_not(begun: bool) -> None:
    """Of one caller; and it keeps its room in a full queue."""
    lane = _lane(most=1)
    _join(lane, "new")
    shed = lane.join(Ticket(Caller("new"), 0, 0, "stream", begun=begun))
    assert [ticket.data for ticket in shed] == ([] if begun else ["stream"])
    assert _served(lane) == ("stream" if begun else "new")
