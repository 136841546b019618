"""The ledger on a disk that works: order, durability, one writer, going on after a stop."""

import asyncio
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardhouse.interceptors.ledger import Ledger, LedgerError
from guardhouse.interceptors.ledger.verify import Verdict, verify

QUERY: dict[str, object] = {"kind": "query", "model": "digits", "status": "OK"}


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in lines_of(folder)]


def verdict_of(folder: Path) -> Verdict:
    return verify(lines_of(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger"


@pytest.fixture
def strict(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(folder, durability="strict")
    yield ledger
    ledger.close()


def test_a_new_ledger_begins_with_its_genesis_entry(folder: Path) -> None:
    """The genesis entry is on disk when the constructor returns, and names version, scheme and chain."""
    ledger = Ledger(folder, clock=lambda: 0.0)
    [first] = entries_of(folder)
    ledger.close()
    assert len(first.pop("chain")) == 32
    assert first == {
        "kind": "genesis",
        "version": 1,
        "scheme": "sha256",
        "time": "1970-01-01T00:00:00.000000Z",
        "seq": 1,
        "prev": "0" * 64,
    }


def test_entries_are_on_disk_in_order_after_close(folder: Path) -> None:
    """Every line appended before close is there after it, numbered without gaps, and the counters agree."""
    ledger = Ledger(folder)
    numbers = [ledger.append(QUERY | {"request_bytes": size}) for size in range(100)]
    ledger.close()
    assert numbers == list(range(2, 102))
    assert [entry["request_bytes"] for entry in entries_of(folder)[1:]] == list(range(100))
    assert verdict_of(folder).intact
    assert (ledger.written, ledger.lag, ledger.sequence) == (101, 0, 101)


def test_only_the_owner_can_read_it(folder: Path) -> None:
    """The folder that was made is 0700 and the file 0600, also where it was looser before."""
    Ledger(folder).close()
    path = folder / "ledger.jsonl"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    Ledger(folder).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_restart_goes_on_with_the_chain(folder: Path) -> None:
    """The second writer's first line follows the first writer's last."""
    for _ in range(3):
        ledger = Ledger(folder)
        ledger.append(QUERY)
        ledger.close()
    assert [entry["kind"] for entry in entries_of(folder)] == ["genesis", "query", "query", "query"]
    assert verdict_of(folder).intact


def test_a_second_writer_is_refused(folder: Path) -> None:
    """Two writers cannot share a file, and the error says what to do; once the first is closed, one can."""
    ledger = Ledger(folder)
    with pytest.raises(LedgerError, match="another writer: give each worker a folder of its own"):
        Ledger(folder)
    ledger.close()
    Ledger(folder).close()


def test_four_threads_make_one_chain(folder: Path) -> None:
    """10,000 entries from four threads verify, and each thread's entries keep their order."""
    ledger = Ledger(folder)

    def work(name: int) -> None:
        for count in range(2500):
            ledger.append({"kind": "query", "thread": name, "count": count})

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    verdict = verdict_of(folder)
    assert verdict.intact
    assert verdict.count == 10_001
    written = entries_of(folder)[1:]
    for name in range(4):
        assert [entry["count"] for entry in written if entry["thread"] == name] == list(range(2500))


def test_buffered_lines_reach_the_disk_by_themselves(folder: Path) -> None:
    """Nobody needs to ask: a buffered line is fsynced by the writer's own clock."""
    synced: list[int] = []
    ledger = Ledger(folder, flush_seconds=0.01, fsync=synced.append)
    before = len(synced)
    assert ledger.wait(ledger.append(QUERY), timeout=30)
    assert len(synced) > before
    assert entries_of(folder)[-1]["model"] == "digits"
    ledger.close()


def test_flushed_is_called_when_the_line_is_on_disk(strict: Ledger, folder: Path) -> None:
    """The callback finds its line in the file; a callback for an old line is called at once."""
    seen: list[bytes] = []
    done = threading.Event()

    def look() -> None:
        seen.append(lines_of(folder)[-1])
        done.set()

    number = strict.append(QUERY)
    strict.flushed(number, look)
    assert done.wait(30)
    assert orjson.loads(seen[0])["seq"] == number
    strict.flushed(1, look)
    assert len(seen) == 2


async def test_committed_returns_after_the_fsync(folder: Path) -> None:
    """While the fsync has not returned, no caller is let go; one fsync then lets a whole group go."""
    gate, waiting, syncs = threading.Event(), threading.Event(), 0
    gate.set()

    def fsync(descriptor: int) -> None:
        nonlocal syncs
        if not gate.is_set():
            waiting.set()
        assert gate.wait(30)
        syncs += 1
        os.fsync(descriptor)

    ledger = Ledger(folder, durability="strict", fsync=fsync)
    gate.clear()
    first = asyncio.ensure_future(ledger.committed(ledger.append(QUERY)))
    assert await asyncio.to_thread(waiting.wait, 30)
    rest = [asyncio.ensure_future(ledger.committed(ledger.append(QUERY))) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in (first, *rest))
    before = syncs
    gate.set()
    await asyncio.gather(first, *rest)
    assert syncs - before == 2
    assert verdict_of(folder).count == 22
    ledger.close()


async def test_a_caller_that_left_does_not_stop_the_others(strict: Ledger) -> None:
    """A cancelled wait is forgotten; later ones are served."""
    waiting = asyncio.ensure_future(strict.committed(strict.append(QUERY)))
    await asyncio.sleep(0)
    waiting.cancel()
    await strict.committed(strict.append(QUERY))
    assert strict.healthy


def test_a_callback_that_fails_does_not_stop_the_writer(strict: Ledger) -> None:
    """What a waiter raises is logged, and the next line is written."""

    def fail() -> None:
        raise RuntimeError("a waiter's own bug")

    strict.flushed(strict.append(QUERY), fail)
    assert strict.wait(strict.append(QUERY), timeout=30)


def test_a_closed_ledger_takes_nothing_more(folder: Path) -> None:
    """Closing twice is harmless; appending afterwards is an error, not a silent loss."""
    ledger = Ledger(folder)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append(QUERY)
    assert verdict_of(folder).count == 1
