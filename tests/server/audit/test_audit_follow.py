"""`Follower`: every whole line once, whatever happens to the files of a ledger."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.ledger.verify import LONGEST_LINE
from guardhouse.server.audit import follow
from guardhouse.server.audit.files import ledger_files
from guardhouse.server.audit.follow import Follower


def lines(*numbers: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def read(follower: Follower) -> list[bytes]:
    """All that is new."""
    found: list[bytes] = []
    while (some := follower.read()) is not None:
        found += some
    return found


def numbers(follower: Follower) -> list[int]:
    return [int(line.split()[1]) for line in read(follower)]


@pytest.fixture
def current(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(lines(7, 8, 9))
    return path


@pytest.fixture
def whole(current: Path) -> Callable[[], list[Path]]:
    """The files of a ledger that was rotated twice."""
    current.with_name("ledger-000001.jsonl").write_bytes(lines(1, 2, 3))
    current.with_name("ledger-000004.jsonl").write_bytes(lines(4, 5, 6))
    return partial(ledger_files, current.parent)


@pytest.mark.parametrize("count", range(12))
def test_the_last_lines_come_from_as_many_files_as_it_takes(
    count: int, whole: Callable[[], list[Path]]
) -> None:
    """The last lines are found across files, in order, each once."""
    with Follower(whole, count) as follower:
        assert numbers(follower) == list(range(1, 10))[max(0, 9 - count) :]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_rotation_loses_and_repeats_nothing(current: Path, whole: Callable[[], list[Path]]) -> None:
    """What was added before, between and after two rotations that nobody saw happen comes in order."""
    with Follower(whole, 0) as follower:
        assert numbers(follower) == []
        append(current, lines(10))
        current.rename(current.with_name("ledger-000007.jsonl"))
        current.write_bytes(lines(11, 12))
        current.rename(current.with_name("ledger-000011.jsonl"))
        assert numbers(follower) == [10, 11, 12]
        assert numbers(follower) == []
        current.write_bytes(lines(13))
        assert numbers(follower) == [13]


def test_files_that_retention_takes_away_are_passed_over(
    current: Path, whole: Callable[[], list[Path]]
) -> None:
    """Where an old file goes while it is read, the next by name follows."""
    with Follower(whole, 9) as follower:
        assert follower.read() == lines(1, 2, 3).splitlines()
        current.with_name("ledger-000001.jsonl").unlink()
        assert numbers(follower) == [4, 5, 6, 7, 8, 9]


def test_a_file_that_was_cut_is_read_from_its_beginning(current: Path) -> None:
    """After a truncation what is written then is new, and half a line from before is forgotten."""
    with Follower(lambda: [current], 0) as follower:
        append(current, b"half")
        assert numbers(follower) == []
        os.truncate(current, 0)
        assert numbers(follower) == []
        append(current, lines(1))
        assert numbers(follower) == [1]


def test_a_file_that_was_replaced_is_followed_by_its_successor(current: Path) -> None:
    """A single file that is taken away is waited for; what it got meanwhile is not lost."""
    with Follower(lambda: [current], 1) as follower:
        assert numbers(follower) == [9]
        append(current, lines(10))
        current.unlink()
        assert numbers(follower) == [10]
        current.write_bytes(lines(11))
        assert numbers(follower) == [11]


def test_a_line_that_never_ends_is_not_held_whole(current: Path) -> None:
    """Garbage without a newline is given in parts: memory stays bounded."""
    current.write_bytes(b"x" * (3 * LONGEST_LINE) + b"\n")
    with Follower(lambda: [current], 1) as follower:
        found = read(follower)
    assert sum(map(len, found)) == 3 * LONGEST_LINE
    assert max(map(len, found)) <= LONGEST_LINE + follow.PIECE


@given(
    st.lists(st.binary(max_size=40).filter(lambda text: b"\n" not in text), max_size=30), st.integers(0, 40)
)
def test_lines_are_put_together_whatever_is_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], count: int
) -> None:
    """Pieces smaller than a line give the same lines."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    path.write_bytes(b"".join(text + b"\n" for text in texts) + b"torn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "PIECE", 7)
        patch.setattr(follow, "BLOCK", 5)
        with Follower(lambda: [path], count) as follower:
            assert read(follower) == (texts[-count:] if count else [])
            append(path, b" end\n")
            assert read(follower) == [b"torn end"]
