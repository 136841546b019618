"""A ledger whose file or folder is moved, deleted or changed under its writer."""

import os
import shutil
import time
from pathlib import Path

import orjson
import pytest

from guardhouse.interceptors.ledger import Ledger

from .ledgers import QUERY, Disk, entries_of, until, verdict_of


def test_a_deleted_folder_is_made_again(tmp_path: Path) -> None:
    """The chain goes on in a new file; a gap entry tells of the earlier one, and verify misses it."""
    folder = tmp_path / "ledger"
    ledger = Ledger(folder, flush_seconds=0.005)
    assert ledger.wait(ledger.append(QUERY), timeout=30)
    shutil.rmtree(folder)
    ledger.append(QUERY)
    until(lambda: ledger.sequence == 5 and not ledger.lag)
    ledger.close()
    assert ledger.healthy
    query, gap, _ = entries_of(folder)
    assert (query["kind"], query["seq"]) == ("query", 4)
    assert (gap["reason"], gap["last"], gap["found"]) == ("earlier file gone", 3, 0)
    verdict = verdict_of(folder)
    assert [(fault.line, fault.what) for fault in verdict.faults] == [(1, "missing")]
    assert verdict.gap_count == 1


def test_a_folder_that_cannot_be_made_again_is_trouble_until_it_can(tmp_path: Path) -> None:
    """With something else in the folder's place the ledger is unhealthy, and recovers when it is gone."""
    folder = tmp_path / "ledger"
    ledger = Ledger(folder, flush_seconds=0.005)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    number = ledger.append(QUERY)
    until(lambda: not ledger.healthy)
    folder.unlink()
    assert ledger.wait(number, timeout=0) is False
    until(lambda: ledger.healthy)
    ledger.close()
    assert [entry["kind"] for entry in entries_of(folder)] == ["query", "gap", "stop"]


def lead(path: Path, to: Path) -> None:
    """Have *path* lead somewhere else, from one moment to the next."""
    beside = path.with_name("beside")
    beside.symlink_to(to)
    beside.replace(path)


@pytest.mark.parametrize("wrong", ["a file", "a folder"])
def test_a_folder_taken_away_in_the_middle_of_a_write(tmp_path: Path, wrong: str) -> None:
    """The lines that a write had left in it are not there twice when it is back, and nobody is blamed."""
    (tmp_path / "a file").touch()
    (tmp_path / "a folder" / "ledger.jsonl").mkdir(parents=True)
    (tmp_path / "right").mkdir()
    folder, disk = tmp_path / "ledger", Disk()
    lead(folder, tmp_path / "right")
    ledger = Ledger(folder, flush_seconds=0.005, fsync=disk.fsync)
    disk.open.clear()
    for _ in range(3):
        ledger.append(QUERY)
    until(lambda: len(entries_of(folder)) > 2)
    lead(folder, tmp_path / wrong)
    disk.open.set()
    until(lambda: not ledger.healthy)
    assert ledger.written == 2, "nobody knows whether the others are on disk"
    lead(folder, tmp_path / "right")
    until(lambda: ledger.healthy and not ledger.lag)
    ledger.close()
    assert [entry["kind"] for entry in entries_of(folder)] == ["genesis", "start", *["query"] * 3, "stop"]
    assert verdict_of(folder).intact


def test_a_file_moved_by_log_rotation_loses_nothing(tmp_path: Path) -> None:
    """Moved away while open: the old file and the new one together hold every line."""
    ledger = Ledger(tmp_path, flush_seconds=0.001)
    for number in range(200):
        ledger.append(QUERY | {"number": number})
        if number in (50, 120):
            until((tmp_path / "ledger.jsonl").exists)
            (tmp_path / "ledger.jsonl").rename(tmp_path / f"old-{number}")
        time.sleep(0.0002)
    ledger.close()
    lines = [
        path.read_bytes() for path in (tmp_path / "old-50", tmp_path / "old-120", tmp_path / "ledger.jsonl")
    ]
    written = {orjson.loads(line).get("number") for line in b"".join(lines).splitlines()}
    assert written >= set(range(200))


def test_an_idle_ledger_notices_that_its_file_is_gone(tmp_path: Path) -> None:
    """Without any call, the file is made again and the loss recorded."""
    ledger = Ledger(tmp_path)
    (tmp_path / "ledger.jsonl").unlink()
    until(lambda: ledger.sequence == 3 and not ledger.lag)
    ledger.close()
    assert entries_of(tmp_path)[0]["reason"] == "earlier file gone"


def test_bytes_added_by_another_hand_are_set_aside(tmp_path: Path) -> None:
    """What somebody wrote behind our last line is kept as evidence, and the chain stays whole."""
    ledger = Ledger(tmp_path, flush_seconds=0.005)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"kind":"query","principal":"nobody"}\n')
    ledger.append(QUERY)
    ledger.close()
    assert [entry["kind"] for entry in entries_of(tmp_path)] == ["genesis", "start", "query", "gap", "stop"]
    assert verdict_of(tmp_path).intact
    [kept] = tmp_path.glob("*.torn-*")
    assert b"nobody" in kept.read_bytes()


def test_lines_cut_while_running_are_recorded_and_found(tmp_path: Path) -> None:
    """A file cut short under the writer goes on with a gap entry; verify names the place."""
    ledger = Ledger(tmp_path, flush_seconds=0.005)
    numbers = [ledger.append(QUERY) for _ in range(5)]
    assert ledger.wait(numbers[-1], timeout=30)
    first = len((tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)[0])
    os.truncate(tmp_path / "ledger.jsonl", first)
    ledger.append(QUERY)
    ledger.close()
    verdict = verdict_of(tmp_path)
    assert verdict.bad
    assert (verdict.bad.line, verdict.bad.what) == (2, "missing")
    assert entries_of(tmp_path)[-2]["reason"] == "file changed by another hand"
