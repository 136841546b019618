"""Which traces are shown when."""

import pytest

from guardhouse.server.traces.follow import Watcher, settled
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import Store, StoreError


def spans_of(trace: str, *numbers: int) -> list[Span]:
    return [Span(trace_id=trace * 32, span_id=f"{number:016x}") for number in numbers]


def shown(traces: list[list[Span]]) -> list[tuple[str, int]]:
    return [(spans[0].trace_id[0], len(spans)) for spans in traces]


@pytest.mark.parametrize(
    ("pending", "fresh", "ready", "waiting"),
    [
        ([], [], [], []),
        ([], ["a", "b"], [], ["a", "b"]),
        (["a", "b"], [], ["a", "b"], []),
        (["a", "b"], ["b", "c"], ["a"], ["b", "c"]),
    ],
)
def test_a_trace_is_ready_when_nothing_new_came(
    pending: list[str], fresh: list[str], ready: list[str], waiting: list[str]
) -> None:
    """A trace that is still growing waits for one quiet look."""
    assert settled(pending, fresh) == (ready, waiting)


def test_two_batches_of_a_trace_are_shown_as_one(store: Store) -> None:
    """The child that comes in a later batch is in the same waterfall; what was there before is not shown."""
    store.add(spans_of("e", 1))
    watcher = Watcher(store)
    store.add(spans_of("a", 1))
    assert watcher.look() == []
    store.add(spans_of("a", 2) + spans_of("b", 1))
    assert watcher.look() == []
    assert shown(watcher.look()) == [("a", 2), ("b", 1)]
    assert watcher.look() == []


def test_the_rest_is_shown_at_the_end(store: Store) -> None:
    """Nothing that was received is left unshown because the end came first."""
    watcher = Watcher(store)
    store.add(spans_of("a", 1))
    watcher.look()
    store.add(spans_of("b", 1) + spans_of("a", 2))
    assert shown(watcher.rest()) == [("a", 2), ("b", 1)]
    assert watcher.rest() == []


def test_a_prefix_picks_traces(store: Store) -> None:
    """Following one trace shows no other; a prefix that is none is refused at once."""
    watcher = Watcher(store, "AA")
    store.add(spans_of("a", 1) + spans_of("b", 1))
    assert shown(watcher.rest()) == [("a", 1)]
    with pytest.raises(StoreError, match="hex"):
        Watcher(store, "nothing")
