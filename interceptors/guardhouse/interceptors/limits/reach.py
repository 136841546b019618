"""Whether a store answers, as far as a process knows: who needs it waits for one that does, and no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PAUSE: Final = 0.5  # seconds for which nobody waits for a store that did not answer in time
PROBE: Final = 0.1  # seconds between two calls that have it asked meanwhile, without waiting


class Reach:
    """What is known of one store.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._away_until = self._probe_at = 0.0
        self._asked_at = math.inf  # when the question was asked that is not answered yet

    def is_near(self, now: float, patience: float) -> bool:
        """Whether a call should wait for it: not behind a question that is older than *patience*."""
        return now >= self._away_until and now - self._asked_at <= patience

    def is_to_probe(self, now: float) -> bool:
        """Whether to have it asked, though nobody waits: somebody must find out that it answers again."""
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE
        return True

    def lost(self) -> None:
        """It has not answered in time."""
        self._away_until = self._clock() + PAUSE

    def found(self) -> None:
        """It has answered."""
        self._away_until = 0.0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """It is being asked."""
        self._asked_at = self._clock()
        try:
            yield
        finally:
            self._asked_at = math.inf
