"""The ledger on a disk that fails: full, read-only, slow, gone."""

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardhouse.interceptors.ledger import Ledger, LedgerError, LedgerFull, LedgerWriteError
from guardhouse.interceptors.ledger.chain import encode
from guardhouse.interceptors.ledger.verify import Verdict, verify

QUERY: dict[str, object] = {"kind": "query", "model": "digits", "status": "OK"}


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines()]


def verdict_of(folder: Path) -> Verdict:
    return verify((folder / "ledger.jsonl").read_bytes().splitlines(keepends=True))


def until(true: Callable[[], bool]) -> None:
    """Wait for the writer; the test's own time limit ends a wait that is in vain."""
    while not true():
        time.sleep(0.002)


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    run("umount", "-l", str(disk))


class Disk:
    """An fsync that fails or waits when told to; the rest of the disk is real."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.open = threading.Event()
        self.open.set()

    def fsync(self, descriptor: int) -> None:
        self.open.wait(60)
        if self.error:
            raise self.error
        os.fsync(descriptor)


def test_a_full_disk_is_told_and_recovers_without_loss(small_disk: Path) -> None:
    """On a full disk the ledger is unhealthy and keeps its lines; with room again it writes them all."""
    ledger = Ledger(small_disk, flush_seconds=0.005)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    appended = 3
    while ledger.healthy:
        ledger.append(QUERY)
        appended += 1
        time.sleep(0.0001)
    assert "No space left" in ledger.trouble
    assert verdict_of(small_disk).intact  # no torn line is left behind meanwhile
    assert ledger.lag
    filler.unlink()
    until(lambda: ledger.healthy)
    ledger.close()
    assert verdict_of(small_disk).intact
    assert verdict_of(small_disk).count == appended


def test_a_read_only_disk_is_told_and_recovers(small_disk: Path) -> None:
    """With a read-only file system in its place the ledger is unhealthy; afterwards nothing is missing."""
    ledger = Ledger(small_disk, flush_seconds=0.005)
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(small_disk))
    ledger.append(QUERY)
    until(lambda: not ledger.healthy)
    assert "Read-only file system" in ledger.trouble
    run("umount", "-l", str(small_disk))
    until(lambda: ledger.healthy)
    ledger.close()
    assert [entry["kind"] for entry in entries_of(small_disk)] == ["genesis", "start", "query", "stop"]
    assert verdict_of(small_disk).intact


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


def test_what_cannot_be_set_aside_leaves_nothing_behind(small_disk: Path) -> None:
    """Where a full disk has no room for the bytes to keep, no try leaves a piece; later they are kept."""
    ledger = Ledger(small_disk, flush_seconds=0.005)
    with (small_disk / "ledger.jsonl").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 1000)
    strange = (small_disk / "ledger.jsonl").read_bytes().count(b"x" * 1000)
    ledger.append(QUERY)
    until(lambda: not ledger.healthy)
    assert "No space left" in ledger.trouble
    assert [path.name for path in small_disk.iterdir()] == ["ledger.jsonl"]
    run("mount", "-o", "remount,size=1m", str(small_disk))
    until(lambda: ledger.healthy)
    ledger.close()
    [kept] = small_disk.glob("*.torn-*")
    assert kept.read_bytes().count(b"x" * 1000) == strange > 0
    assert verdict_of(small_disk).intact


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


def test_too_many_waiting_lines_are_refused_counted_and_told(tmp_path: Path) -> None:
    """Past the bound append raises, and after recovery a gap entry counts what was refused."""
    disk = Disk()
    ledger = Ledger(tmp_path, flush_seconds=0.005, fsync=disk.fsync, limit_bytes=1000)
    disk.error = OSError(5, "Input/output error")
    taken, refused = 0, 0
    while refused < 3:
        try:
            ledger.append(QUERY)
            taken += 1
        except LedgerFull:
            refused += 1
    assert not ledger.healthy
    assert 1000 / 200 < taken < 20
    disk.error = None
    until(lambda: ledger.healthy and ledger.sequence == taken + 3 and not ledger.lag)
    ledger.close()
    gap = entries_of(tmp_path)[-2]
    assert (gap["reason"], gap["entries"]) == ("entries refused", 3)
    assert verdict_of(tmp_path).intact


def test_a_batch_that_finds_no_room_is_refused_whole_and_counted(tmp_path: Path) -> None:
    """A batch is taken or refused as one, and each of its entries counts in the gap."""
    disk = Disk()
    ledger = Ledger(tmp_path, flush_seconds=0.005, fsync=disk.fsync, limit_bytes=1000)
    disk.error = OSError(5, "Input/output error")
    batch = [encode(QUERY)] * 20
    last = ledger.append_many(batch)
    with pytest.raises(LedgerFull):
        ledger.append_many(batch)
    assert ledger.sequence == last
    disk.error = None
    until(lambda: ledger.healthy and ledger.sequence == last + 1 and not ledger.lag)
    ledger.close()
    gap = entries_of(tmp_path)[-2]
    assert (gap["reason"], gap["entries"]) == ("entries refused", 20)


async def test_strict_waiters_are_told_at_the_first_failure(tmp_path: Path) -> None:
    """Nobody waits for a broken disk: committed raises, wait is False, and the line is written later."""
    disk = Disk()
    ledger = Ledger(tmp_path, durability="strict", fsync=disk.fsync)
    disk.error = OSError(28, "No space left on device")
    number = ledger.append(QUERY)
    with pytest.raises(LedgerWriteError):
        await ledger.committed(number)
    assert not ledger.healthy
    assert "No space left on device" in ledger.trouble
    assert not await asyncio.to_thread(ledger.wait, number, 30)
    disk.error = None
    until(lambda: ledger.healthy)
    await ledger.committed(number)
    ledger.close()
    assert verdict_of(tmp_path).count == 4


def test_a_disk_that_does_not_answer_is_trouble(tmp_path: Path) -> None:
    """A write that hangs makes the ledger unhealthy without any error, and append still does not wait."""
    disk = Disk()
    ledger = Ledger(tmp_path, flush_seconds=0.001, fsync=disk.fsync, stall_seconds=0.01)
    disk.open.clear()
    ledger.append(QUERY)
    until(lambda: not ledger.healthy)
    assert "has not answered" in ledger.trouble
    ledger.append(QUERY)
    disk.open.set()
    until(lambda: ledger.healthy)
    ledger.close()
    assert verdict_of(tmp_path).count == 5


def test_close_says_what_could_not_be_written(tmp_path: Path) -> None:
    """A close that must give up says how many lines were lost, once; it waits no longer than told."""
    disk = Disk()
    ledger = Ledger(tmp_path, flush_seconds=0.005, fsync=disk.fsync)
    disk.error = OSError(5, "Input/output error")
    ledger.append(QUERY)
    with pytest.raises(LedgerError, match=r"2 ledger lines could not be written: .*Input/output error"):
        ledger.close(timeout=0.05)
    ledger.close()


def test_a_disk_that_fails_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A ledger that cannot write its first line does not come into being."""
    disk = Disk()
    disk.error = OSError(28, "No space left on device")
    with pytest.raises(LedgerError, match="No space left on device"):
        Ledger(tmp_path, fsync=disk.fsync)
    disk.error = None
    Ledger(tmp_path, fsync=disk.fsync).close()
