"""Which traces are ready to be shown, while spans keep arriving."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from guardhouse.server.traces.store import Arrival, Store, parse_prefix

PATIENCE = 20  # looks that a trace which grows, or lacks a parent, is waited for
MOST_WAITING = 10_000  # traces; before there are more, the oldest are shown as they are


@dataclass(frozen=True, slots=True)
class Waiting:
    """A trace that is not shown yet: what came of it, how many looks ago, and whether it still grows."""

    arrival: Arrival
    looks: int = 0
    grew: bool = True


def merge(waiting: Iterable[Waiting], fresh: Iterable[Arrival]) -> list[Waiting]:
    """Everything that waits after one more look, which found *fresh*; the longest waiting first."""
    new = {arrival.trace_id: arrival for arrival in fresh}
    kept = [_older(one, new.pop(one.arrival.trace_id, None)) for one in waiting]
    return kept + [Waiting(arrival) for arrival in new.values()]


def _older(one: Waiting, more: Arrival | None) -> Waiting:
    arrival = replace(one.arrival, last=more.last) if more else one.arrival
    return Waiting(arrival, one.looks + 1, grew=more is not None)


def ready(one: Waiting, incomplete: bool) -> bool:
    """Whether to show a trace now: it stopped growing and lacks no parent, or was waited for long enough."""
    return one.looks >= PATIENCE or not (one.grew or incomplete)


class Watcher:
    """Follows a store from where it stands now; only traces whose id begins with *prefix*, if given.

    Each span is part of one arrival only: a trace that was shown and grows again gives another arrival.
    Raises `StoreError` for a prefix that is none.
    """

    def __init__(self, store: Store, prefix: str | None = None) -> None:
        self._store, self._prefix = store, parse_prefix(prefix) if prefix else ""
        self._seq = store.last_seq()
        self._waiting: list[Waiting] = []

    def look(self) -> list[Arrival]:
        """The traces that came to rest since the last look."""
        waiting = merge(self._waiting, self._fresh())
        over = max(0, len(waiting) - MOST_WAITING)
        shown = waiting[:over] + [one for one in waiting[over:] if self._ready(one)]
        gone = {one.arrival.trace_id for one in shown}
        self._waiting = [one for one in waiting if one.arrival.trace_id not in gone]
        return [one.arrival for one in shown]

    def rest(self) -> list[Arrival]:
        """Whatever was not shown yet, at the end."""
        waiting, self._waiting = merge(self._waiting, self._fresh()), []
        return [one.arrival for one in waiting]

    def _ready(self, one: Waiting) -> bool:
        return ready(one, not one.grew and self._store.waits(one.arrival.trace_id))

    def _fresh(self) -> Sequence[Arrival]:
        arrivals = self._store.since(self._seq)
        self._seq = max((arrival.last for arrival in arrivals), default=self._seq)
        return [arrival for arrival in arrivals if arrival.trace_id.startswith(self._prefix)]
