"""The store: idempotent, bounded, private, and readable while it is written."""

import sqlite3
import stat
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import Arrival, EmptyStoreError, Store, StoreError, default_path


def spans_of(trace: int, numbers: Iterable[int]) -> list[Span]:
    return [Span(trace_id=f"{trace:032x}", span_id=f"{number:016x}", name=str(number)) for number in numbers]


def test_what_was_added_is_read_back(store: Store) -> None:
    """A trace is found by its id, whole and in order of arrival."""
    spans = [replace(span, attributes={"a": [1, None, "é\0"]}) for span in spans_of(1, [3, 1, 2])]
    assert store.add(spans) == 3
    assert store.trace("0" * 31 + "1") == spans


def test_a_repeated_batch_counts_once(store: Store) -> None:
    """A sender that never got the answer may send again: the same span is the same span."""
    assert store.add(spans_of(1, range(10))) == 10
    assert store.add(spans_of(1, range(5, 15))) == 5
    assert store.count_spans() == 15


def test_the_same_span_twice_in_a_batch_counts_once(store: Store) -> None:
    """A duplicate within one request is no error either."""
    assert store.add(spans_of(1, [7, 7, 7])) == 1


def test_span_ids_belong_to_their_trace(store: Store) -> None:
    """The same span id in two traces is two spans."""
    assert store.add(spans_of(1, [1]) + spans_of(2, [1])) == 2


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """The store never holds more than it should, and forgets the oldest first."""
    with Store.open(tmp_path / "t.db", keep=10) as store:
        for number in range(7):
            store.add(spans_of(number, range(4)))
        assert store.count_spans() == 10
        assert [len(spans) for spans in store.recent(99)] == [2, 4, 4]
        assert store.recent(99)[-1][0].trace_id.endswith("6")


def test_duplicates_do_not_push_others_out(tmp_path: Path) -> None:
    """A batch that is sent ten times takes the room of one."""
    with Store.open(tmp_path / "t.db", keep=10) as store:
        store.add(spans_of(1, range(5)))
        for _ in range(10):
            store.add(spans_of(2, range(5)))
        assert len(store.trace("0" * 31 + "1")) == 5


def test_a_batch_larger_than_the_store_keeps_its_end(tmp_path: Path) -> None:
    """One request over the bound is cut like any other."""
    with Store.open(tmp_path / "t.db", keep=3) as store:
        store.add(spans_of(1, range(8)))
        assert [span.name for span in store.trace("0")] == ["5", "6", "7"]


def test_numbers_go_on_after_reopening(tmp_path: Path) -> None:
    """A receiver that starts again adds to what is there, and prunes by the same count."""
    for number in range(4):
        with Store.open(tmp_path / "t.db", keep=6) as store:
            store.add(spans_of(number, range(3)))
    with Store.reading(tmp_path / "t.db") as store:
        assert (store.count_spans(), store.last_seq()) == (6, 12)


def test_a_failing_batch_leaves_nothing(store: Store) -> None:
    """All of a request is stored or none of it: a retry then starts from a known place."""
    good, bad = spans_of(1, [1, 2])
    with pytest.raises((sqlite3.Error, OverflowError)):
        store.add([good, replace(bad, start_ns=2**64)])
    assert store.count_spans() == 0
    assert store.add([good]) == 1


def test_recent_traces_end_with_the_newest(store: Store) -> None:
    """A trace is as recent as its last span, and the newest stands last, above the prompt."""
    store.add(spans_of(1, [1]) + spans_of(2, [1]) + spans_of(3, [1]) + spans_of(1, [2]))
    assert [spans[0].trace_id[-1] for spans in store.recent(2)] == ["3", "1"]
    assert [len(spans) for spans in store.recent(9)] == [1, 1, 2]


def test_since_tells_what_is_new(store: Store) -> None:
    """A follower asks from the number it had, and is told each trace once."""
    store.add(spans_of(1, [1]))
    assert store.since(0) == [Arrival(f"{1:032x}", 1, 1)]
    assert store.since(1) == []
    store.add(spans_of(2, [1, 2]) + spans_of(1, [2]) + spans_of(2, [3]))
    assert store.since(1) == [Arrival(f"{2:032x}", 2, 5), Arrival(f"{1:032x}", 4, 4)]


def test_a_part_of_a_trace(store: Store) -> None:
    """What arrived of a trace is read by its numbers, the newest if there is a limit, and counted unread."""
    store.add(spans_of(1, [1, 2]) + spans_of(2, [9]) + spans_of(1, [3, 4]))
    trace = f"{1:032x}"
    assert [span.name for span in store.part(trace, 2, 4)] == ["2", "3"]
    assert [span.name for span in store.part(trace, limit=2)] == ["3", "4"]
    assert store.count_part(Arrival(trace, 2, 5)) == 3


def test_a_missing_parent_is_waited_for(store: Store) -> None:
    """A trace waits for a parent that its own process should send, not for one that is a server's caller."""
    root, inner = spans_of(1, [1, 2])
    store.add([replace(inner, parent_id=root.span_id, kind=2)])
    assert not store.waits(root.trace_id)
    store.add([replace(inner, span_id="3" * 16, parent_id=root.span_id, kind=1)])
    assert store.waits(root.trace_id)
    store.add([root])
    assert not store.waits(root.trace_id)


def test_a_prefix_finds_one_trace(store: Store) -> None:
    """The beginning of an id is enough, in either case, as long as it means one trace."""
    store.add([Span("ab" * 16, "1" * 16), Span("ab" * 15 + "cd", "1" * 16), Span("f" * 32, "1" * 16)])
    assert store.trace("F")[0].trace_id == "f" * 32
    assert store.trace("AB" * 15 + "c")[0].trace_id.endswith("cd")
    assert store.trace("c") == []
    with pytest.raises(StoreError, match="more than one"):
        store.trace("ab")


@pytest.mark.parametrize("prefix", ["", "xyz", "g", "a" * 33, "%", "a b", "' OR 1=1", "\uff41"])
def test_a_prefix_is_hex(store: Store, prefix: str) -> None:
    """Anything that cannot begin a trace id is refused rather than looked up."""
    with pytest.raises(StoreError, match="hex"):
        store.trace(prefix)


def test_the_file_is_private(tmp_path: Path) -> None:
    """Only its owner reads a store and its side files, also if it was there with a looser mode."""
    path = tmp_path / "new" / "folder" / "t.db"
    with Store.open(path) as store:
        store.add(spans_of(1, [1]))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"t.db": 0o600, "t.db-wal": 0o600, "t.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    Store.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_reading_beside_a_writer(store: Store, tmp_path: Path) -> None:
    """A viewer sees each transaction as soon as it is committed, without stopping the receiver."""
    with Store.reading(tmp_path / "traces.db") as beside:
        assert beside.count_spans() == 0
        store.add(spans_of(1, range(3)))
        assert beside.count_spans() == 3
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            beside.add(spans_of(2, [1]))


def test_many_threads_may_add(store: Store) -> None:
    """Threads that add at the same time lose nothing and repeat nothing."""

    def add(trace: int) -> None:
        for number in range(20):
            store.add(spans_of(trace, [number]))

    threads = [threading.Thread(target=add, args=(trace,)) for trace in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.count_spans(), store.last_seq()) == (80, 80)


def test_no_store_is_an_empty_store(tmp_path: Path) -> None:
    """Looking where nothing was ever received says how to start receiving, and makes no file."""
    with pytest.raises(EmptyStoreError, match="guardhouse traces --follow"):
        Store.reading(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"x", b"hello\n" * 100, b"SQLite format 3\0", b"SQLite format 3\0" + bytes(99)]
)
def test_somebody_elses_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A wrong --store neither changes nor reads a file that is not ours."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    path.chmod(0o644)
    for opening in (Store.open, Store.reading):
        with pytest.raises(StoreError, match="not a store of traces"):
            opening(path)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    """Not every SQLite file is a store: the keys' file is not written to by mistake."""
    path = tmp_path / "keys.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE spans (x)")
    other.close()
    with pytest.raises(StoreError, match="not a store of traces"):
        Store.open(path)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """An error of the system is one line that names the path."""
    with pytest.raises(StoreError, match=f"cannot open the store {tmp_path}") as caught:
        Store.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_store_keeps_something(tmp_path: Path) -> None:
    """A bound of nothing would prune what was just answered for."""
    with pytest.raises(ValueError, match="at least one"):
        Store.open(tmp_path / "t.db", keep=0)


@pytest.mark.parametrize("state", ["", "relative/path"])
def test_the_default_is_below_home(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Without a usable XDG_STATE_HOME the store is where the specification puts it."""
    monkeypatch.setenv("HOME", "/home/somebody")
    expected = Path("/home/somebody/.local/state/guardhouse/traces.db")
    assert default_path({"XDG_STATE_HOME": state}) == default_path({}) == expected
    assert default_path({"XDG_STATE_HOME": "/var/x"}) == Path("/var/x/guardhouse/traces.db")
