"""Clocks that differ, and clocks that jump: no window of a budget is ever spent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors.limits.budget.purse import DRY, Purse
from guardhouse.interceptors.limits.budget.windows import window
from guardhouse.interceptors.limits.stores import Store
from guardhouse.interceptors.limits.stores.memory import MemoryStore

from .asking import NOON, Gate, grant

HOUR, SKEW = 3600.0, 5.0
LIMIT = 40  # so few that nothing is taken ahead: what one gate says does not depend on what another holds
EDGE = NOON + HOUR  # where one hour ends and the next begins


class Clocks:
    """Gates that share a store; each call of theirs tells what time it is there."""

    def __init__(self, stack: ExitStack, store: Store) -> None:
        self._stack, self._store = stack, store
        steps = count()
        self._clock: Callable[[], float] = lambda: next(steps) * DRY  # no refusal is remembered

    def gate(self) -> Gate:
        """A new process: it remembers nothing, and the store everything."""
        purse = Purse(self._store, clock=self._clock)
        self._stack.callback(purse._ended.set)  # the store is not its own to close
        return Gate(purse, grant(f"{LIMIT} calls/hour"))


def through(gate: Gate, wall: float) -> bool:
    """Whether a call at *wall* is let through; it is refused in one way only."""
    said = gate.ask(wall)
    assert said.reason in ("", "BUDGET_EXHAUSTED")
    return said.status == "OK"


def test_clocks_five_seconds_apart_at_the_edge_of_an_hour(store: Store) -> None:
    """Two gates, one behind the other by 5 s, asked all the time from 10 s before the hour to 10 s after it:
    each hour gives its budget once, by whatever clock, and both together two.
    """
    passed: Counter[str] = Counter()
    with ExitStack() as stack:
        clocks = Clocks(stack, store)
        quick, slow = clocks.gate(), clocks.gate()
        for step in range(-100, 100):
            for gate, wall in ((quick, EDGE + step / 10), (slow, EDGE + step / 10 - SKEW)):
                passed[window("hour", wall).name] += through(gate, wall)
    before, after = window("hour", EDGE - 1).name, window("hour", EDGE).name

    assert passed == {before: LIMIT, after: LIMIT}
    assert {entry.window: entry.spent for entry in store.entries()} == passed


def test_an_hour_that_is_spent_before_the_slow_clock_comes_to_it(store: Store) -> None:
    """The quick clock opens the next hour 5 s early and spends it all: the slow one finds nothing there."""
    with ExitStack() as stack:
        clocks = Clocks(stack, store)
        quick, slow = clocks.gate(), clocks.gate()
        early = [through(quick, EDGE) for _ in range(LIMIT + 5)]
        late = [through(slow, EDGE - SKEW) for _ in range(LIMIT + 5)]
        last = [through(slow, EDGE + wait) for wait in (0, 1, SKEW, HOUR - 1)]

    assert (sum(early), sum(late), sum(last)) == (LIMIT, LIMIT, 0)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_is_set_by_an_hour_and_back(store: Store, jump: float) -> None:
    """A process whose clock is set, and set right again, then one that is started anew: two hours were named,
    and two budgets are all that there was.
    """
    with ExitStack() as stack:
        clocks = Clocks(stack, store)
        gate = clocks.gate()
        walls = [NOON, NOON + jump, NOON]
        ran = sum(through(gate, wall) for wall in walls for _ in range(LIMIT + 5))
        again = clocks.gate()
        anew = sum(through(again, wall) for wall in sorted(walls) for _ in range(LIMIT + 5))

    # Set back, the clock stands still for the gate that runs: the hour before is there for one started then.
    assert (ran, anew) == ((2 * LIMIT, 0) if jump > 0 else (LIMIT, LIMIT))
    assert all(entry.spent == LIMIT for entry in store.entries())


JUMPS = st.sampled_from([0.0, 0.1, 60.0, 1700.0, HOUR, -0.1, -SKEW, SKEW, -60.0, -HOUR])
STEPS = st.lists(st.tuples(st.integers(0, 2), JUMPS, st.integers(0, LIMIT), st.booleans()), max_size=25)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_as_a_slow_and_obvious_model(steps: list[tuple[int, float, int, bool]]) -> None:
    """Three gates with a clock each, which go, jump and are started anew in whatever order: every single call
    is let through or refused as by a dictionary of what is spent, and a clock that only goes ahead.
    """
    spent: Counter[str] = Counter()
    with ExitStack() as stack:
        clocks = Clocks(stack, MemoryStore(lambda: NOON))
        gates, walls, latest = [clocks.gate() for _ in range(3)], [NOON] * 3, [0.0] * 3
        for place, jump, calls, anew in steps:
            if anew:
                gates[place], latest[place] = clocks.gate(), 0.0
            walls[place] += jump
            for _ in range(calls):
                latest[place] = max(latest[place], walls[place])
                name = window("hour", latest[place]).name
                assert through(gates[place], walls[place]) == (spent[name] < LIMIT)
                spent[name] = min(LIMIT, spent[name] + 1)
