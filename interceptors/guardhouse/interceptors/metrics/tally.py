"""Counts calls as they end. What callers send makes no new series: labels are registered names alone."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from typing import Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.refusal import Refusal

from .cells import FINE_NS, Cell, Times
from .families import Family
from .folding import Key, Outcome, folded

OTHER: Final = "_OTHER"  # no model can be named so, and no method
MOST_CELLS: Final = 4096  # a handler that serves any path whatever makes every path a known method


class Tally:
    """The calls that have ended, counted. A sink of `Record`.

    A method that nobody serves, and a model that is not among *models*, are counted as `_OTHER`.
    """

    def __init__(self, models: Container[str]) -> None:
        self._models = models
        # Under labels that may stand in a series and under no others: what a stranger sends is not found.
        self._cells: dict[Key, Cell] = {}
        self._chain = Times(FINE_NS)
        self._lock = threading.Lock()  # threads of a `grpc.server` take at once

    def take(self, calls: Sequence[Call]) -> None:
        """Count settled *calls*."""
        cells, chain = self._cells, self._chain
        with self._lock:
            for call in calls:
                outcome = _outcome(call.refusal) if call.refusal else None
                cell = cells.get((call.method, call.model, outcome)) or self._cell(call, outcome)
                cell.add(call)
                chain.add(max(0, call.ended_ns - call.opened_ns - call.model_ns - call.queue_ns))

    def families(self) -> Iterator[Family]:
        """All counts until now. Takes no lock, so that no call waits for a reader.

        Of a call that is being counted meanwhile one family may know, and another not yet.
        """
        return folded(tuple(self._cells.items()), self._chain)

    def _cell(self, call: Call, outcome: Outcome | None) -> Cell:
        """The cell of *call* under the labels that it may have, made if need be."""
        method = call.method if call.known else OTHER
        model = call.model if not call.model or call.model in self._models else OTHER
        key = (method, model, outcome)
        if key not in self._cells and len(self._cells) >= MOST_CELLS:
            key = (OTHER, OTHER, outcome)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell()
        return cell


def _outcome(refusal: Refusal) -> Outcome:
    return Outcome(refusal.guard, refusal.reason, refusal.code)
