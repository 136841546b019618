"""Rates and slots of every store against slow, obvious models: whatever is drawn and held, in any order."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from guardhouse.interceptors.limits.stores import Drip, Hold, Store
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.limits.stores.redis import RedisStore
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

from .redis_servers import RedisServer
from .test_stores_model import FEW

NAMES = st.sampled_from(["ann", "bob"])
STEP = 2**14  # seconds: what passes by itself while a test runs is nothing beside it
PACE = {"ann": (STEP, 12), "bob": (STEP // 4, 5)}  # interval and burst
SPANS = st.tuples(st.integers(1, 15), st.integers(1, 15)).map(sorted)
DRIPS = st.lists(
    st.builds(
        lambda name, span: Drip(name, PACE[name][0], PACE[name][0] * PACE[name][1], *span), NAMES, SPANS
    ),
    max_size=2,
    unique_by=lambda drip: drip.name,
)
LIMIT = 6
HOLDS = st.lists(
    st.builds(Hold, NAMES, st.just(LIMIT), st.integers(0, LIMIT)),
    max_size=2,
    unique_by=lambda hold: hold.name,
)
Pass = Callable[[float], None]


class Machine(RuleBasedStateMachine):
    """A store, a way to pass time there, and beside it all that was ever drawn and said, with its time."""

    def __init__(self, make: Callable[[], tuple[Store, Pass]]) -> None:
        super().__init__()
        self.store, self.passes = make()
        self.now = Fraction(0)
        self.draws: list[tuple[Fraction, str, int]] = []
        self.said: dict[tuple[str, str], tuple[int, Fraction]] = {}

    @initialize()
    def begin(self) -> None:
        """A store that is used for many runs of the machine: all is full, and nobody has anything."""
        self.passes(100 * STEP)

    @rule(quarters=st.integers(1, 20))
    def pass_time(self, quarters: int) -> None:
        """In steps that doubles can tell exactly."""
        self.passes(quarters * STEP / 4)
        self.now += Fraction(quarters * STEP, 4)

    def level(self, name: str) -> Fraction:
        """What is in a bucket that began full, dripped on all the time, and was never more than full."""
        interval, burst = PACE[name]
        level, at = Fraction(burst), Fraction(0)
        for time, whose, units in self.draws:
            if whose == name:
                level = min(Fraction(burst), level + (time - at) / Fraction(interval)) - units
                at = time
        return min(Fraction(burst), level + (self.now - at) / Fraction(interval))

    @rule(drips=DRIPS)
    def draw(self, drips: list[Drip]) -> None:
        """Each gives whole units that are in its bucket, if there are enough."""
        for drip, drawn in zip(drips, self.store.draw(drips), strict=True):
            level = self.level(drip.name)
            units = min(drip.most, int(level)) if level >= drip.least else 0
            lacks = float((drip.least - level) * Fraction(drip.interval))
            wait = 0.0 if units else inf if drip.least > PACE[drip.name][1] else lacks
            assert (drawn.units, drawn.left) == (units, int(level) - units)
            assert drawn.wait == pytest.approx(wait, rel=1e-2, abs=60)
            self.draws.append((self.now, drip.name, units))

    @rule(process=st.sampled_from(["p", "q", "r"]), holds=HOLDS, quarters=st.integers(1, 8))
    def hold(self, process: str, holds: list[Hold], quarters: int) -> None:
        """Each is granted one after another, until there are none left."""
        seconds = Fraction(quarters * STEP, 4)
        for hold, has in zip(holds, self.store.hold(process, holds, float(seconds)), strict=True):
            self.said.pop((hold.name, process), None)
            free = LIMIT
            for (name, _), (slots, over) in self.said.items():
                free -= slots if name == hold.name and self.now < over else 0
            slots = 0
            while slots < hold.slots and free > 0:
                slots, free = slots + 1, free - 1
            assert has == slots
            self.said[hold.name, process] = slots, self.now + seconds


class Ticks:
    """A clock set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def elapse(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds


def test_memory_does_as_the_model() -> None:
    """A new store in memory for each run."""

    def make() -> tuple[Store, Pass]:
        ticks = Ticks()
        return MemoryStore(ticks=ticks), ticks.elapse

    run_state_machine_as_test(lambda: Machine(make), settings=settings(FEW, max_examples=100))


def test_sqlite_does_as_the_model() -> None:
    """One file for all runs, opened once."""
    with TemporaryDirectory() as folder:
        ticks = Ticks()
        store = SqliteStore(Path(folder) / "budgets.db", ticks=ticks)
        run_state_machine_as_test(lambda: Machine(lambda: (store, ticks.elapse)), settings=FEW)
        store.close()


def test_redis_does_as_the_model(redis_server: RedisServer) -> None:
    """One server for all runs."""
    store = RedisStore(redis_server.url, timeout=5)
    run_state_machine_as_test(lambda: Machine(lambda: (store, redis_server.elapse)), settings=FEW)
    store.close()
