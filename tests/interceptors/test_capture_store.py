"""The store of captures: its files, its bounds, and a disk that refuses."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.capture import store as shell
from guardhouse.interceptors.capture.find import find
from guardhouse.interceptors.capture.lines import File, Message, decode, doomed, encode, file_name, reference
from guardhouse.interceptors.capture.store import Store

HOUR = 3600
NOW = 1_795_600_800  # 2026-11-25T10:00:00Z


def message(call: int = 1, at: float = NOW, data: bytes = b"data") -> Message:
    return Message(call, int(at * 10**9), "digits", "request", 1, "inference.X", len(data), data)


def until(true: Callable[[], object]) -> None:
    """Wait for the writer's thread."""
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    assert true()


def opened(folder: Path, limit: int = 1 << 30, keep: float = 7 * 24 * HOUR, now: float = NOW) -> Store:
    return Store(folder, limit=limit, keep=keep, clock=lambda: now)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shell, "RETRY", 0.01)
    monkeypatch.setattr(shell, "TIDY", 0.01)
    return tmp_path / "captures"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_the_folder_is_for_few_eyes(folder: Path) -> None:
    """The folder has mode 0700, a file 0600, whatever the umask."""
    before = os.umask(0)
    try:
        store = opened(folder)
        store.put(message())
        store.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()] == [0o600]


def test_a_file_holds_the_calls_of_an_hour(folder: Path) -> None:
    """Calls lie where their reference says, and are found by it or by their id alone."""
    store = opened(folder)
    for call, at in ((1, NOW), (2, NOW + 3599), (3, NOW + HOUR)):
        assert store.put(message(call, at))
    store.close()
    assert names(folder) == ["2026-11-25T10.jsonl", "2026-11-25T11.jsonl"]
    for wanted in (reference(2, (NOW + 3599) * 10**9), f"{2:016x}"):
        assert [facts["arrived"] for facts in find(folder, wanted)] == ["2026-11-25T10:59:59Z"]
    assert list(find(folder, f"2026-11-25T11.jsonl:{2:016x}")) == []


@pytest.mark.parametrize(
    "wanted",
    ["", "../../etc/passwd", "x.jsonl:0000000000000001", "../2026-11-25T10.jsonl:0000000000000001", "1"],
)
def test_a_reference_leads_nowhere_else(wanted: str, folder: Path) -> None:
    """What is neither a reference nor an id is not looked for."""
    with pytest.raises(ValueError, match="neither"):
        list(find(folder, wanted))


def test_too_many_that_wait_are_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded: a message too many is said no to at once, and memory is freed by writing."""
    monkeypatch.setattr(shell, "MOST_WAITING", 5000)
    monkeypatch.setattr(shell, "GATHER", 30)  # the writer lets them lie
    store = opened(folder)
    taken = [store.put(message(call, data=bytes(1000))) for call in range(1, 7)]
    assert taken == [True, True, False, False, False, False]
    store.close()
    assert len((folder / "2026-11-25T10.jsonl").read_bytes().splitlines()) == 2


def test_a_disk_that_refuses_loses_nothing_that_was_taken(folder: Path) -> None:
    """Meanwhile nothing is taken; once it is back, what waited is written, once, and all is well again."""
    store = opened(folder)
    blocked = folder / "2026-11-25T10.jsonl"
    blocked.mkdir()
    assert store.put(message(1))
    until(lambda: store.trouble)
    assert "cannot write captures" in store.trouble
    assert not store.put(message(2))
    blocked.rmdir()
    until(lambda: not store.trouble)
    assert store.put(message(3))
    store.close()
    assert [bool(list(find(folder, f"{call:016x}"))) for call in (1, 2, 3)] == [True, False, True]


def test_a_torn_line_costs_no_other(folder: Path) -> None:
    """After a crash in the middle of a line the next one begins on its own."""
    store = opened(folder)
    store.put(message(1))
    store.close()
    path = folder / "2026-11-25T10.jsonl"
    path.write_bytes(path.read_bytes() + encode(message(2))[:40])
    store = opened(folder)
    store.put(message(3))
    store.close()
    assert [len(list(find(folder, f"{call:016x}"))) for call in (1, 2, 3)] == [1, 0, 1]


def test_old_files_are_deleted_and_others_left_alone(folder: Path) -> None:
    """Files past their time go at the start; what is not ours stays."""
    folder.mkdir(mode=0o700)
    for name in ("2026-11-25T06.jsonl", "2026-11-25T07.jsonl", "2026-11-25T08.jsonl", "notes.txt", "a.jsonl"):
        (folder / name).write_bytes(b"x\n")
    opened(folder, keep=2 * HOUR).close()
    assert names(folder) == ["2026-11-25T07.jsonl", "2026-11-25T08.jsonl", "a.jsonl", "notes.txt"]


def test_the_oldest_make_room_for_the_newest(folder: Path) -> None:
    """All files together stay under the limit, whatever is put."""
    folder.mkdir(mode=0o700)
    for hour in range(4, 10):
        (folder / f"2026-11-25T{hour:02}.jsonl").write_bytes(bytes(2000))
    store = opened(folder, limit=8000)
    assert store.put(message(1, data=bytes(2000)))
    store.close()
    assert names(folder) == ["2026-11-25T08.jsonl", "2026-11-25T09.jsonl", "2026-11-25T10.jsonl"]


def test_one_hour_never_takes_more_than_the_limit(folder: Path) -> None:
    """Where nothing older can go, no more is taken, and what was taken is kept."""
    store = opened(folder, limit=20_000)
    taken = []
    for call in range(1, 50):
        taken.append(store.put(message(call, data=bytes(1500))))
        if call % 3 == 0:
            until(lambda: not store._queue)
    store.close()
    size = sum(each.stat().st_size for each in folder.iterdir())
    assert 10_000 < size <= 20_000
    assert sum(taken) == sum(bool(list(find(folder, f"{call:016x}"))) for call in range(1, 50))


facts = st.builds(
    Message,
    st.integers(1, 2**64 - 1),
    st.integers(0, 4 * 10**18),
    st.text(max_size=64),
    st.sampled_from(["request", "response"]),
    st.integers(1, 10**6),
    st.just("inference.ModelInferRequest"),
    st.integers(0, 2**31),
    st.binary(max_size=400),
)


@given(facts)
def test_a_line_gives_the_message_back(given: Message) -> None:
    """One line of printable ASCII, no longer than was reckoned, from which all can be read."""
    line = encode(given)
    told = decode(line)
    assert told is not None
    assert (told["data"], told["model"], told["call"]) == (given.data, given.model, f"{given.call:016x}")
    assert line.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in line[:-1])


@given(st.dictionaries(st.integers(-300, 5), st.integers(0, 1000), max_size=30), st.integers(0, 20_000))
def test_what_must_go(sizes: dict[int, int], spare: int) -> None:
    """The expired all go; of others the oldest, and only as many as it takes; the present hour stays."""
    keep = 100 * HOUR
    hour = {age: file_name((NOW + age * HOUR) * 10**9) for age in sizes}
    gone = doomed([File(hour[age], size) for age, size in sizes.items()], NOW + 60, keep, spare)
    left = {age: size for age, size in sizes.items() if hour[age] not in gone}
    assert all(age >= -101 for age in left)
    assert {age for age in sizes if age >= 0} <= left.keys()
    assert sum(left.values()) <= spare or min(left) >= 0
    young = [age for age in sizes if hour[age] in gone and age >= -101]
    if young:  # had the newest of those been kept, it would have been too much
        assert sum(left.values()) + sizes[max(young)] > spare
        assert max(young) < min(left, default=1)


def test_names_are_in_the_order_of_time() -> None:
    """Sorted by name, files are sorted by age."""
    stamps = [file_name(at * 10**9) for at in range(0, 10**10, 10**8)]
    assert stamps == sorted(stamps)
    assert datetime.strptime(stamps[-1], "%Y-%m-%dT%H.jsonl").replace(tzinfo=UTC).year == 2283
