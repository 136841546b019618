"""Where every span is: waiting, on the disk, sent or lost. Nowhere twice, and never nowhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

Place = Literal["queued", "spooled"]
# Why a span is lost: there are no other words, so that they can be labels of a metric.
Reason = Literal[
    "queue_full",  # too many waited in memory
    "spool_full",  # likewise, and the spool had no room, or could not be written
    "rejected",  # the collector took the batch in and threw the span away (`partial_success`)
    "refused",  # the collector would not have the batch, nor will it ever
    "shutdown",  # the exporter was closed
    "spool_damaged",  # what the spool gave back is not what was put there
    "unencodable",  # a span of the model's own that has no OTLP form
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class Counts(NamedTuple):
    """Spans at one moment: `given + found == sent + sum(lost.values()) + queued + spooled`, always.

    Attributes:
        given: Handed over since the start.
        found: Left in the spool by an earlier run.
        sent: Taken by the collector.
        lost: By reason, one of `REASONS`; a reason that never occurred is not there.
        queued: In memory, or under way from there.
        spooled: On the disk.
    """

    given: int
    found: int
    sent: int
    lost: Mapping[Reason, int]
    queued: int
    spooled: int


class Tally:
    """Counts spans as they come and go. Every move is one step under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given = self._found = self._sent = 0
        self._lost: Counter[Reason] = Counter()
        self._at: dict[Place, int] = {"queued": 0, "spooled": 0}

    def came(self, spans: int) -> None:
        """*spans* were handed over; they count as queued until they are moved on."""
        with self._lock:
            self._given += spans
            self._at["queued"] += spans

    def found(self, spans: int) -> None:
        """*spans* were in the spool at the start."""
        with self._lock:
            self._found += spans
            self._at["spooled"] += spans

    def spooled(self, spans: int) -> None:
        """*spans* went from memory to the disk."""
        with self._lock:
            self._at["queued"] -= spans
            self._at["spooled"] += spans

    def sent(self, spans: int, rejected: int, place: Place) -> None:
        """*spans* went to the collector from *place*, which threw *rejected* of them away."""
        with self._lock:
            self._at[place] -= spans
            self._sent += spans - rejected
            self._lost["rejected"] += rejected

    def lost(self, spans: int, reason: Reason, place: Place) -> None:
        """*spans* were lost from *place*."""
        with self._lock:
            self._at[place] -= spans
            self._lost[reason] += spans

    def counts(self) -> Counts:
        """The state of this moment."""
        with self._lock:
            lost = {reason: spans for reason, spans in self._lost.items() if spans}
            at = self._at
            return Counts(self._given, self._found, self._sent, lost, at["queued"], at["spooled"])
