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
from guardhouse.interceptors.ledger.chain import Link, digest_by, encode
from guardhouse.interceptors.ledger.verify import Verdict, verify
from guardhouse.interceptors.ledger.writer import remaining

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
    """Genesis and start are on disk when the constructor returns, and name version, scheme and chain."""
    ledger = Ledger(folder, clock=lambda: 0.0)
    first, second = entries_of(folder)
    ledger.close()
    assert (second["kind"], second["pid"], second["closed"]) == ("start", os.getpid(), True)
    assert second["program"].startswith("guardhouse")
    assert len(first.pop("chain")) == 32
    assert first == {
        "kind": "genesis",
        "version": 1,
        "scheme": "sha256",
        "key": "",
        "signer": "",
        "time": "1970-01-01T00:00:00.000000Z",
        "seq": 1,
        "prev": "0" * 64,
    }


def test_entries_are_on_disk_in_order_after_close(folder: Path) -> None:
    """Every line appended before close is there after it, numbered without gaps, and the counters agree."""
    ledger = Ledger(folder)
    numbers = [ledger.append(QUERY | {"request_bytes": size}) for size in range(100)]
    ledger.close()
    assert numbers == list(range(3, 103))
    assert [entry["request_bytes"] for entry in entries_of(folder)[2:-1]] == list(range(100))
    assert verdict_of(folder).intact
    assert (ledger.written, ledger.lag, ledger.sequence) == (103, 0, 103)


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
    """The second writer's first line follows the first writer's last; each run begins and ends on record."""
    for _ in range(3):
        ledger = Ledger(folder)
        ledger.append(QUERY)
        ledger.close()
    assert [entry["kind"] for entry in entries_of(folder)] == ["genesis", *(["start", "query", "stop"] * 3)]
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
    assert verdict.count == 10_003
    written = entries_of(folder)[2:-1]
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


def test_a_batch_is_one_chain_with_single_entries(folder: Path) -> None:
    """What comes in batches is numbered, chained and written as if it came one by one."""
    ledger = Ledger(folder)
    assert ledger.append(QUERY) == 3
    assert ledger.append_many([encode(QUERY | {"request_bytes": size}) for size in range(64)]) == 67
    assert ledger.append_many([]) == 67
    assert ledger.wait(67, timeout=30)
    assert ledger.head == Link(67, digest_by(b"")(lines_of(folder)[-1][:-1]))
    ledger.close()
    assert [entry["request_bytes"] for entry in entries_of(folder)[3:-1]] == list(range(64))
    assert verdict_of(folder).intact


def test_a_thread_waits_until_its_line_is_on_disk(strict: Ledger, folder: Path) -> None:
    """`wait` returns when the line is in the file; for an old line at once; False when the time is up."""
    number = strict.append(QUERY)
    assert strict.wait(number, timeout=30)
    assert entries_of(folder)[-1]["seq"] == number
    assert strict.wait(1)
    assert not strict.wait(number + 1, timeout=0.001)


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
    assert verdict_of(folder).count == 23
    ledger.close()


async def test_a_caller_that_left_does_not_stop_the_others(strict: Ledger) -> None:
    """A cancelled wait is forgotten; later ones are served."""
    waiting = asyncio.ensure_future(strict.committed(strict.append(QUERY)))
    await asyncio.sleep(0)
    waiting.cancel()
    await strict.committed(strict.append(QUERY))
    assert strict.healthy


async def test_a_group_wakes_its_loop_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many coroutines wait for a group, the writer's thread calls into their loop one time."""
    loop, calls = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: calls.append(args) or wake(*args))
    ledger = Ledger(folder, flush_seconds=0.02)
    number = ledger.append_many([encode(QUERY)] * 500)
    await asyncio.gather(*(ledger.committed(each) for each in range(number - 499, number + 1)))
    assert len(calls) == 1
    ledger.close()


async def test_under_load_an_fsync_serves_a_group(folder: Path) -> None:
    """Strict, with 64 callers that each wait for their line: far fewer fsyncs than lines."""
    syncs = 0

    def fsync(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fsync(descriptor)

    ledger = Ledger(folder, durability="strict", fsync=fsync)
    before = syncs

    async def caller() -> None:
        for _ in range(20):
            await ledger.committed(ledger.append(QUERY))

    await asyncio.gather(*(caller() for _ in range(64)))
    assert syncs - before <= 64 * 20 / 8
    ledger.close()
    assert verdict_of(folder).count == 64 * 20 + 3


@pytest.mark.parametrize(
    ("since", "now", "rest"), [(10.0, 10.0, 0.05), (10.0, 10.02, 0.03), (10.0, 10.2, 0.0)]
)
def test_a_group_is_written_a_fixed_time_after_its_first_line(since: float, now: float, rest: float) -> None:
    """A group gathers from its first line on, also while the group before it is being synced."""
    assert remaining(since, 0.05, now) == pytest.approx(rest)


def test_a_buffered_line_is_on_disk_after_one_wait_and_one_fsync(folder: Path) -> None:
    """Nothing but the gathering time and a single fsync stands between an idle ledger and the disk."""
    syncs: list[int] = []
    ledger = Ledger(folder, flush_seconds=0.01, fsync=syncs.append)
    number, before = ledger.append(QUERY), len(syncs)
    assert ledger.wait(number, timeout=30)
    assert len(syncs) - before == 1
    ledger.close()


def test_a_closed_ledger_takes_nothing_more(folder: Path) -> None:
    """Closing twice is harmless; appending afterwards is an error, not a silent loss."""
    ledger = Ledger(folder)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append(QUERY)
    assert verdict_of(folder).count == 3
