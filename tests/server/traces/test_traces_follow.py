"""Which traces are shown when."""

from dataclasses import replace

import pytest

from guardhouse.server.traces import follow
from guardhouse.server.traces.follow import PATIENCE, Waiting, Watcher, merge, ready
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import Arrival, Store, StoreError

SERVER = 2


def spans_of(trace: str, *numbers: int) -> list[Span]:
    return [Span(trace_id=trace * 32, span_id=f"{number:016x}") for number in numbers]


def child(trace: str, number: int, parent: int, kind: int = 1) -> list[Span]:
    return [replace(spans_of(trace, number)[0], parent_id=f"{parent:016x}", kind=kind)]


def shown(store: Store, arrivals: list[Arrival]) -> list[tuple[str, list[int]]]:
    """The trace and the spans' numbers of each arrival."""
    read = [store.part(one.trace_id, one.first, one.last) for one in arrivals]
    return [(spans[0].trace_id[0], [int(span.span_id, 16) for span in spans]) for spans in read]


def test_what_waits_is_merged() -> None:
    """A trace that grew is one arrival from its first span to its last; the longest waiting is first."""
    before = [Waiting(Arrival("a", 1, 3)), Waiting(Arrival("b", 2, 2))]
    assert merge(before, [Arrival("c", 4, 4), Arrival("b", 5, 7)]) == [
        Waiting(Arrival("a", 1, 3), 1, grew=False),
        Waiting(Arrival("b", 2, 7), 1, grew=True),
        Waiting(Arrival("c", 4, 4), 0, grew=True),
    ]


@pytest.mark.parametrize(
    ("looks", "grew", "incomplete", "shown"),
    [
        (0, True, False, False),
        (1, False, False, True),
        (1, False, True, False),
        (PATIENCE - 1, True, False, False),
        (PATIENCE, True, False, True),
        (PATIENCE, False, True, True),
    ],
)
def test_a_trace_is_ready_when_nothing_more_should_come(
    looks: int, grew: bool, incomplete: bool, shown: bool
) -> None:
    """A trace that grows or lacks a parent is waited for, but not for ever."""
    assert ready(Waiting(Arrival("a", 1, 1), looks, grew), incomplete) is shown


def test_two_batches_of_a_trace_are_shown_as_one(store: Store) -> None:
    """The child that comes in a later batch is in the same waterfall; what was there before is not shown."""
    store.add(spans_of("e", 1))
    watcher = Watcher(store)
    store.add(spans_of("a", 1))
    assert watcher.look() == []
    store.add(spans_of("a", 2) + spans_of("b", 1))
    assert watcher.look() == []
    assert shown(store, watcher.look()) == [("a", [1, 2]), ("b", [1])]
    assert watcher.look() == []


def test_children_wait_for_their_parent(store: Store) -> None:
    """Spans of a model, which end and arrive before the call that they are part of, are shown with it."""
    watcher = Watcher(store)
    store.add(child("a", 3, 2) + child("a", 2, 1))
    for _ in range(PATIENCE // 2):
        assert watcher.look() == []
    store.add(spans_of("a", 1))
    assert watcher.look() == []
    assert shown(store, watcher.look()) == [("a", [3, 2, 1])]


def test_a_parent_that_never_comes_is_not_waited_for_for_ever(store: Store) -> None:
    """After some seconds a trace is shown as it is."""
    watcher = Watcher(store)
    store.add(child("a", 2, 1))
    looks = [watcher.look() for _ in range(PATIENCE + 1)]
    assert [bool(arrivals) for arrivals in looks] == [False] * PATIENCE + [True]


def test_a_servers_parent_is_elsewhere(store: Store) -> None:
    """The parent of a server's span is its caller's, who may report to somebody else: no wait for it."""
    watcher = Watcher(store)
    store.add(child("a", 2, 1, kind=SERVER))
    watcher.look()
    assert shown(store, watcher.look()) == [("a", [2])]


def test_late_spans_are_an_arrival_of_their_own(store: Store) -> None:
    """A trace that was shown and grows again gives its new spans only; no span is shown twice."""
    watcher = Watcher(store)
    store.add(spans_of("a", 1))
    watcher.look()
    assert shown(store, watcher.look()) == [("a", [1])]
    store.add(child("a", 2, 1) + child("a", 3, 1))
    watcher.look()
    assert shown(store, watcher.look()) == [("a", [2, 3])]


def test_a_trace_without_end_is_shown_in_pieces(store: Store) -> None:
    """A trace that grows at every look is shown every few seconds, each span once."""
    watcher, seen = Watcher(store), list[int]()
    for number in range(1, 3 * PATIENCE + 1):
        store.add(spans_of("a", number))
        seen += [number for _, numbers in shown(store, watcher.look()) for number in numbers]
    seen += [number for _, numbers in shown(store, watcher.rest()) for number in numbers]
    assert seen == list(range(1, 3 * PATIENCE + 1))


def test_only_so_many_traces_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a flood of incomplete traces the oldest are shown early, so that memory stays bounded."""
    monkeypatch.setattr(follow, "MOST_WAITING", 3)
    watcher = Watcher(store)
    for trace in "abcde":
        store.add(child(trace, 2, 1))
    assert shown(store, watcher.look()) == [("a", [2]), ("b", [2])]
    assert shown(store, watcher.rest()) == [("c", [2]), ("d", [2]), ("e", [2])]


def test_the_rest_is_shown_at_the_end(store: Store) -> None:
    """Nothing that was received is left unshown because the end came first."""
    watcher = Watcher(store)
    store.add(spans_of("a", 1))
    watcher.look()
    store.add(spans_of("b", 1) + spans_of("a", 2))
    assert shown(store, watcher.rest()) == [("a", [1, 2]), ("b", [1])]
    assert watcher.rest() == []


def test_a_prefix_picks_traces(store: Store) -> None:
    """Following one trace shows no other; a prefix that is none is refused at once."""
    watcher = Watcher(store, "AA")
    store.add(spans_of("a", 1) + spans_of("b", 1))
    assert shown(store, watcher.rest()) == [("a", [1])]
    with pytest.raises(StoreError, match="hex"):
        Watcher(store, "nothing")
