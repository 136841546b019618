"""What `guardhouse traces --follow` prints while spans arrive."""

import json
from collections.abc import Iterable

import pytest

from guardhouse.server.traces.follow import Watcher
from guardhouse.server.traces.printing import MOST_DRAWN, MOST_READ, show_json, show_text
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import Arrival, Store


def spans_of(trace: int, numbers: Iterable[int]) -> list[Span]:
    """A root, number 1, and its children, a microsecond after each other."""
    return [
        Span(
            f"{trace:032x}",
            f"{number:016x}",
            "" if number == 1 else "0" * 15 + "1",
            f"n{number}",
            start_ns=number * 1000,
            end_ns=20_000_000,
        )
        for number in numbers
    ]


def test_late_spans_are_drawn_as_an_addition(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace is drawn once; what comes later is drawn alone, under the same id, in its place."""
    watcher = Watcher(store)
    store.add(spans_of(1, [1, 2]))
    show_text(store, watcher.rest())
    store.add(spans_of(1, [3]))
    show_text(store, watcher.rest())
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert first.splitlines()[0].endswith("  2 spans")
    assert second.splitlines()[0].endswith("  1 more span")
    assert second.splitlines()[0][:38] == first.splitlines()[0][:38]
    assert [line[:6] for line in second.splitlines()[1:]] == ["  └ n3"]


def test_a_huge_trace_is_cut_for_a_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a trace of thousands of spans the first are drawn; all are counted, and none is lost to --json."""
    watcher, total = Watcher(store), 2 * MOST_READ + 7
    store.add(spans_of(1, range(total, 0, -1)))
    arrivals = watcher.rest()
    show_text(store, arrivals)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"  {total:,} spans")
    assert lines[1].startswith("  n1 ")
    assert lines[-2].startswith(f"  {total - MOST_DRAWN:,} more: `guardhouse traces ")
    show_json(store, arrivals)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(document["spans"]) for document in documents] == [MOST_READ, MOST_READ, 7]
    assert len({span["name"] for document in documents for span in document["spans"]}) == total


def test_a_trace_between_others_is_one_object(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """However many spans of others arrive in between, a trace of ordinary size is one line of JSON."""
    watcher = Watcher(store)
    store.add(spans_of(1, [1]) + spans_of(2, range(1, MOST_READ + 10)) + spans_of(1, [2]))
    show_json(store, watcher.rest()[:1])
    (line,) = capsys.readouterr().out.splitlines()
    assert len(json.loads(line)["spans"]) == 2


def test_a_flood_is_counted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Of hundreds of traces at once only some are drawn, and the number of the others is said."""
    watcher = Watcher(store)
    for trace in range(1, 251):
        store.add(spans_of(trace, [1]))
    show_text(store, watcher.rest())
    out, err = capsys.readouterr()
    assert out.count("trace ") == 200
    assert "50 more traces arrived at once: `guardhouse traces --last 50`" in err


def test_what_was_pruned_is_no_line(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """An arrival whose spans the store has forgotten prints nothing."""
    gone = [Arrival("a" * 32, 1, 9)]
    show_text(store, gone)
    show_json(store, gone)
    assert capsys.readouterr().out == ""
