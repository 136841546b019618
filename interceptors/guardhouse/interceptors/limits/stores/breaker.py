"""A store that has just failed is left alone for a while: who needs it learns so at once, without waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from . import Account, Drawn, Drip, Entry, Hold, Short, Store, StoreError, UnaskedError, Want

PAUSE: Final = 0.5  # seconds that the store is left alone after a failure
PROBE: Final = 1.0  # seconds after which a probe that does not come back no longer keeps out the next


class State(NamedTuple):
    """What is thought of the store.

    Attributes:
        turn: Counts the changes of mind: what was begun in an earlier turn says nothing about now.
        until: While the store is thought to be down: when the next may try it, in monotonic seconds.
    """

    turn: int = 0
    until: float | None = None


def admit(state: State, now: float) -> State | None:
    """The state in which a caller goes on to the store; None if it must not. Of those that may again, one."""
    if state.until is None:
        return state
    if now < state.until:
        return None
    return State(state.turn + 1, now + PROBE)


def settle(state: State, turn: int, well: bool, now: float) -> State:
    """The state once a call that was let through in *turn* has ended, and the store did *well*."""
    if turn != state.turn:
        return state
    return State(turn, None) if well else State(turn + 1, now + PAUSE)


def hand_back(state: State, turn: int, now: float) -> State:
    """The state once a call has ended in a way that says nothing of the store: another may probe it."""
    return State(turn + 1, now) if turn == state.turn and state.until is not None else state


class Breaker:
    """*store*, with StoreError at once for `PAUSE` seconds after each StoreError of its own; then one caller
    tries it, while all others still fail at once.

    Args:
        store: What it stands before; closed with it.
        clock: Monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._state = State()
        self._trouble = ""

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """See `Store`."""
        with self._watched():
            return self._store.take(wants)

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Store`."""
        with self._watched():
            self._store.give(units)

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """See `Store`."""
        with self._watched():
            return self._store.draw(drips)

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """See `Store`."""
        with self._watched():
            return self._store.hold(process, holds, seconds)

    def entries(self) -> Iterator[Entry]:
        """See `Store`."""
        with self._watched():
            yield from self._store.entries()

    def reset(self, name: str) -> int:
        """See `Store`."""
        with self._watched():
            return self._store.reset(name)

    def close(self) -> None:
        """See `Store`."""
        self._store.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Any other error than StoreError is the asker's own: it says nothing about the store."""
        turn = self._begin()
        try:
            yield
        except StoreError as error:
            self._end(turn, str(error))
            raise
        except BaseException:
            with self._lock:
                self._state = hand_back(self._state, turn, self._clock())
            raise
        self._end(turn, "")

    def _begin(self) -> int:
        with self._lock:
            state = admit(self._state, self._clock())
            if state is None:
                raise UnaskedError(f"not tried, having just failed: {self._trouble}")
            self._state = state
            return state.turn

    def _end(self, turn: int, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble or self._trouble
            self._state = settle(self._state, turn, not trouble, self._clock())
