"""The ledger on a disk that fails: full, read-only, slow."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from guardhouse.interceptors.ledger import Ledger, LedgerError, LedgerFull, LedgerWriteError
from guardhouse.interceptors.ledger.chain import encode

from .ledgers import QUERY, Disk, entries_of, until, verdict_of


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
    until(lambda: [path.name for path in small_disk.iterdir()] == ["ledger.jsonl"])  # between two tries
    run("mount", "-o", "remount,size=1m", str(small_disk))
    until(lambda: ledger.healthy)
    ledger.close()
    [kept] = small_disk.glob("*.torn-*")
    assert kept.read_bytes().count(b"x" * 1000) == strange > 0
    assert verdict_of(small_disk).intact


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


async def test_nobody_waits_for_a_ledger_that_was_closed(tmp_path: Path) -> None:
    """A disk that never answers holds the writer; closed, the ledger lets go of all who wait."""
    disk = Disk()
    ledger = Ledger(tmp_path, durability="strict", fsync=disk.fsync)
    disk.open.clear()
    number = ledger.append(QUERY)
    waiting = [asyncio.to_thread(ledger.wait, number), ledger.committed(number)]
    told = asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0.05)
    with pytest.raises(LedgerError, match="could not be written"):
        await asyncio.to_thread(ledger.close, 0.01)
    waited, committed = await told
    assert not waited
    assert isinstance(committed, LedgerWriteError)
    assert not await asyncio.to_thread(ledger.wait, number)
    with pytest.raises(LedgerWriteError):
        await ledger.committed(number)
    disk.open.set()


def test_a_disk_that_fails_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A ledger that cannot write its first line does not come into being."""
    disk = Disk()
    disk.error = OSError(28, "No space left on device")
    with pytest.raises(LedgerError, match="No space left on device"):
        Ledger(tmp_path, fsync=disk.fsync)
    disk.error = None
    Ledger(tmp_path, fsync=disk.fsync).close()
