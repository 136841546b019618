"""Which traces are ready to be shown, while spans keep arriving."""

from collections.abc import Sequence

from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import Store, parse_prefix


def settled(pending: Sequence[str], fresh: Sequence[str]) -> tuple[list[str], list[str]]:
    """The traces to show now, and those to wait for: a trace is shown when a look brought nothing new of it.

    So the spans of one trace that come in two batches are shown together. A trace that grows again later is
    shown again, whole.
    """
    still = set(fresh)
    return [trace_id for trace_id in pending if trace_id not in still], list(fresh)


class Watcher:
    """Follows a store from where it stands now; only traces whose id begins with *prefix*, if given.

    Raises `StoreError` for a prefix that is none.
    """

    def __init__(self, store: Store, prefix: str | None = None) -> None:
        self._store, self._prefix = store, parse_prefix(prefix) if prefix else ""
        self._seq = store.last_seq()
        self._pending: list[str] = []

    def look(self) -> list[list[Span]]:
        """The traces that came to rest since the last look."""
        ready, self._pending = settled(self._pending, self._fresh())
        return self._load(ready)

    def rest(self) -> list[list[Span]]:
        """Whatever was not shown yet, at the end."""
        ready = list(dict.fromkeys([*self._pending, *self._fresh()]))
        self._pending = []
        return self._load(ready)

    def _fresh(self) -> list[str]:
        self._seq, trace_ids = self._store.since(self._seq)
        return [trace_id for trace_id in trace_ids if trace_id.startswith(self._prefix)]

    def _load(self, trace_ids: Sequence[str]) -> list[list[Span]]:
        return [spans for trace_id in trace_ids if (spans := self._store.trace(trace_id))]
