"""The metrics of a guard: counts of every call that has ended, and what its parts tell of themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial

from guardhouse.interceptors.call import Call

from . import state
from .catalogue import CATALOGUE, Metric
from .families import Family
from .tally import Tally

__all__ = ["CATALOGUE", "Family", "Metric", "Metrics"]


class Metrics:
    """A sink of `Record` that counts, and the place where everything that is measured can be read.

    Args:
        models: The names that may stand in the label `model`; all other models are `_OTHER`.
    """

    def __init__(self, models: Container[str] = ()) -> None:
        self.since = time.time_ns()  # when counting began, in nanoseconds since the epoch
        self._tally = Tally(models)
        self._sources: list[Callable[[], Iterable[Family]]] = []
        self.watch(self._tally.families)
        self.watch(partial(state.process, time.monotonic()))

    def take(self, calls: Sequence[Call]) -> None:
        """Count settled *calls*."""
        self._tally.take(calls)

    def watch(self, source: Callable[[], Iterable[Family]]) -> None:
        """Read *source* as well, in whatever thread somebody reads; it must not wait.

        What an earlier source told of the same metric is told no more: a guard that was left and made anew
        has a new ledger, and one series.
        """
        self._sources.append(source)

    def read(self) -> list[Family]:
        """Everything as it is now, in the order of `CATALOGUE`."""
        found = {family.metric: family for source in self._sources for family in source()}
        return [found[metric] for metric in CATALOGUE if metric in found]
