"""The breaker: a store in trouble is left alone, tried by one, and used again soon after it recovers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.limits.stores import Account, Drawn, Drip, Entry, Hold, Short, StoreError, Want
from guardhouse.interceptors.limits.stores.breaker import PAUSE, PROBE, Breaker, State, admit, settle
from guardhouse.interceptors.limits.stores.memory import MemoryStore

from .accounts import account, draw, drip, hold, take

STEPS = st.lists(
    st.tuples(st.floats(0, 2), st.sampled_from(["ask", "well", "failed"]), st.integers(0, 9)), max_size=60
)


class Unsteady(MemoryStore):
    """A store in memory that is away when told so, and counts who came."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.visits = False, 0

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """Take, or fail."""
        self._visit()
        return super().take(wants)

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """Give, or fail."""
        self._visit()
        super().give(units)

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """Draw, or fail."""
        self._visit()
        return super().draw(drips)

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """Hold, or fail."""
        self._visit()
        return super().hold(process, holds, seconds)

    def entries(self) -> Iterator[Entry]:
        """Tell, or fail in the middle."""
        yield from super().entries()
        self._visit()

    def reset(self, name: str) -> int:
        """Reset, or fail."""
        self._visit()
        return super().reset(name)

    def _visit(self) -> None:
        self.visits += 1
        if self.away:
            raise StoreError("away")


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """One clock for breaker and test."""
    return Clock()


def test_opens_with_the_first_failure(clock: Clock) -> None:
    """One caller meets the trouble; until the pause is over all others learn of it without the store."""
    store = Unsteady()
    breaker = Breaker(store, clock)
    store.away = True
    with pytest.raises(StoreError, match=r"^away$"):
        take(breaker, 1, account())
    clock.now += PAUSE * 0.99
    for verb in (lambda: take(breaker, 1, account()), lambda: breaker.give([]), lambda: breaker.reset("a")):
        with pytest.raises(StoreError, match="not tried, having just failed: away"):
            verb()
    with pytest.raises(StoreError, match="not tried"):
        list(breaker.entries())
    assert store.visits == 1


def test_closes_with_the_first_success(clock: Clock) -> None:
    """Recovered, the store is tried by the first who comes after the pause, and at once used by all."""
    store = Unsteady()
    breaker = Breaker(store, clock)
    store.away = True
    for _ in range(3):
        clock.now += PAUSE
        with pytest.raises(StoreError, match=r"^away$"):
            breaker.give([])
    store.away = False
    clock.now += PAUSE
    assert [take(breaker, 1, account()) for _ in range(5)] == [1] * 5


@pytest.mark.parametrize("verb", ["take", "give", "draw", "hold", "entries", "reset"])
def test_every_verb_counts(verb: str, clock: Clock) -> None:
    """Trouble met by any verb spares the others; also what comes in the middle of the entries."""
    store = Unsteady()
    breaker = Breaker(store, clock)
    verbs = {
        "take": lambda: take(breaker, 1, account()),
        "give": lambda: breaker.give([]),
        "draw": lambda: draw(breaker, drip()),
        "hold": lambda: hold(breaker, "p", 1),
        "entries": lambda: list(breaker.entries()),
        "reset": lambda: breaker.reset("ann"),
    }
    store.away = True
    with pytest.raises(StoreError, match=r"^away$"):
        verbs[verb]()
    for each in verbs.values():
        with pytest.raises(StoreError, match="not tried"):
            each()


def test_an_askers_mistake_is_no_trouble(clock: Clock) -> None:
    """What cannot be asked says nothing of the store: nobody can close it to others by asking that."""
    breaker = Breaker(MemoryStore(), clock)
    with pytest.raises(ValueError, match="the name"):
        take(breaker, 1, account("\n"))
    assert take(breaker, 1, account()) == 1


def test_an_askers_mistake_gives_the_probe_to_the_next(clock: Clock) -> None:
    """After a pause one may try the store. If what it asks cannot be, the next one tries, and at once."""
    store = Unsteady()
    breaker = Breaker(store, clock)
    store.away = True
    with pytest.raises(StoreError, match=r"^away$"):
        breaker.give([])
    store.away = False
    clock.now += PAUSE
    with pytest.raises(ValueError, match="cannot want"):
        breaker.take([Want(account(limit=10), 2, 1)])

    assert breaker.take([Want(account(limit=10), 1, 1)]) == (1,)


def test_one_probe(clock: Clock) -> None:
    """While one caller tries the store, others fail at once: here they come while it is in there."""
    seen: list[str] = []

    class Reentrant(Unsteady):
        def reset(self, name: str) -> int:
            for _ in range(3):
                with pytest.raises(StoreError, match="not tried"):
                    breaker.give([])
                seen.append("kept out")
            return super().reset(name)

    store = Reentrant()
    breaker = Breaker(store, clock)
    store.away = True
    with pytest.raises(StoreError, match=r"^away$"):
        breaker.give([])
    store.away = False
    clock.now += PAUSE
    breaker.reset("ann")
    breaker.give([])
    assert seen == ["kept out"] * 3


def test_one_probe_of_many_threads(clock: Clock) -> None:
    """Eight threads come at once when the pause is over: one is let in, and seven fail while it is there."""
    inside, outside = threading.Event(), threading.Semaphore(0)

    class Slow(Unsteady):
        def reset(self, name: str) -> int:
            assert inside.wait(10)
            return super().reset(name)

    def come() -> None:
        try:
            breaker.reset("ann")
        except StoreError:
            outside.release()

    store = Slow()
    breaker = Breaker(store, clock)
    store.away = True
    with pytest.raises(StoreError, match=r"^away$"):
        breaker.give([])
    store.away = False
    clock.now += PAUSE
    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert all(outside.acquire(timeout=10) for _ in range(7))
    inside.set()
    for thread in threads:
        thread.join()
    assert store.visits == 2


def test_closed_with_its_store(clock: Clock) -> None:
    """To close it is to close what it stands before."""

    class Closing(MemoryStore):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    store = Closing()
    Breaker(store, clock).close()
    assert store.closed == 1


@given(STEPS)
def test_the_decision(steps: list[tuple[float, str, int]]) -> None:
    """Whenever callers come and end: after a failure none is let through for the pause; after it one in each
    `PROBE` seconds until one does well; and never is anybody kept out for longer than that.
    """
    state, now, under_way = State(), 0.0, list[int]()
    failed_at = probed_at = float("-inf")
    for wait, what, which in steps:
        now += wait
        down = state.until is not None
        if what == "ask":
            admitted = admit(state, now)
            if not down:
                assert admitted == state
            elif admitted is None:
                assert now < failed_at + PAUSE or now < probed_at + PROBE
            else:
                assert now >= failed_at + PAUSE
                assert now >= probed_at + PROBE or failed_at >= probed_at
                probed_at = now
            if admitted is not None:
                state = admitted
                under_way.append(state.turn)
        elif under_way:
            turn = under_way.pop(which % len(under_way))
            fresh = turn == state.turn
            state = settle(state, turn, what == "well", now)
            if fresh and what == "failed":
                failed_at = now
            assert (state.until is None) == ((what == "well") if fresh else not down)


@given(st.floats(0, 10), st.floats(0, 10))
def test_recovery_in_two_seconds(trouble: float, recovered: float) -> None:
    """With somebody asking every 50 ms, and a store that answers or fails within 250 ms: the breaker is
    closed again within two seconds of the recovery.
    """
    state, now, end = State(), 0.0, trouble + recovered
    ends: list[tuple[float, int, bool]] = []
    closed_at = None
    for step in range(int((end + 3) / 0.05)):
        now = step * 0.05
        for done, turn, well in [each for each in ends if each[0] <= now]:
            state = settle(state, turn, well, done)
            ends.remove((done, turn, well))
        admitted = admit(state, now)
        if admitted is not None:
            state = admitted
            well = not trouble <= now < end
            ends.append((now + (0.01 if well else 0.25), state.turn, well))
        if now >= end + 0.3 and state.until is None and closed_at is None:
            closed_at = now
    assert closed_at is not None
    assert closed_at <= end + 2
