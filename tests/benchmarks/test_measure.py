"""How long the benchmark waits for spans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.measure import PATIENCE, settled


class Clock:
    """Time that passes when somebody rests."""

    def __init__(self) -> None:
        self.now = 100.0

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def arriving(*counts: int) -> Iterator[int]:
    """*counts* one after another; then the last one for ever."""
    yield from counts
    while True:
        yield counts[-1]


@pytest.mark.parametrize(
    ("counts", "found", "waits"),
    [
        ((10,), 10, False),
        ((0, 4, 8, 10), 10, False),
        ((0, 12), 12, False),  # more than wanted: counted, and it shows
        ((0, 4, 8), 8, True),  # lost: it is waited for, then given up
        ((0,), 0, True),
    ],
)
def test_spans_are_waited_for(counts: tuple[int, ...], found: int, waits: bool) -> None:
    """Until all are there; or until none has come for so long that those missing are lost."""
    clock, source = Clock(), arriving(*counts)
    assert settled(lambda: next(source), 10, lambda: clock.now, clock.rest) == found
    assert (clock.now - 100 >= PATIENCE) == waits
