"""The spool: batches on the disk while the collector is away, and what is left of them after every mishap."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardhouse.interceptors.record.collector import TracingError
from guardhouse.interceptors.record.export import Counts, Exporter
from guardhouse.interceptors.record.export.spool import HEAD, Spool

from .collectors import LATER, PROTOCOLS, Receiver, Reply, balanced, receiving, send, until

LIMIT = 2**20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty spool in `tmp_path / "spool"`."""
    made = Spool(tmp_path / "spool", LIMIT)
    yield made
    made.close()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spans"))


def _everything(spool: Spool) -> list[tuple[int, bytes | None]]:
    """All batches, oldest first; they are gone afterwards."""
    found = []
    while kept := spool.oldest():
        found.append((kept.spans, spool.read(kept)))
        spool.drop(kept)
    return found


def test_first_in_first_out(spool: Spool) -> None:
    """What is put in comes out, in order, once."""
    for number in range(20):
        assert spool.put(b"x" * number, number)

    assert spool.spans == sum(range(20))
    assert _everything(spool) == [(number, b"x" * number) for number in range(20)]
    assert spool.spans == 0


def test_nobody_else_can_read_it(spool: Spool, tmp_path: Path) -> None:
    """The folder is 0700, its files 0600, whatever the umask says."""
    old = os.umask(0)
    spool.put(b"secret", 1)
    os.umask(old)

    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool").iterdir()} == {0o600}


def test_it_survives_a_restart(spool: Spool, tmp_path: Path) -> None:
    """The next process finds what is left, and goes on behind it."""
    spool.put(b"one", 1)
    spool.put(b"two", 2)
    spool.close()
    again = Spool(tmp_path / "spool", LIMIT)
    again.put(b"three", 3)

    assert again.spans == 6
    assert _everything(again) == [(1, b"one"), (2, b"two"), (3, b"three")]
    again.close()


def test_it_is_bounded(spool: Spool, tmp_path: Path) -> None:
    """It takes no more than its limit, and again when there is room; the limit counts whole blocks."""
    taken = 0
    while spool.put(bytes(10_000), 1):
        taken += 1
    used = sum(path.stat().st_blocks * 512 for path in _files(tmp_path / "spool"))

    assert taken == LIMIT // 12_288
    assert used <= LIMIT
    spool.drop(spool.oldest())  # type: ignore[arg-type] # there is one
    assert spool.put(bytes(10_000), 1)
    assert not spool.put(bytes(10_000), 1)


def test_one_process_at_a_time(spool: Spool, tmp_path: Path) -> None:
    """A second one is told so; it would send everything again."""
    with pytest.raises(TracingError, match="is in use; give each process a spool of its own"):
        Spool(tmp_path / "spool", LIMIT)


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    """It is refused when it is opened, not when it is needed."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TracingError, match="write another path"):
        Spool(tmp_path / "file", LIMIT)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(at: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return flip


def _link(path: Path) -> None:
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


TORN: dict[str, Callable[[Path], object]] = {
    "cut": _cut,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"x" * 1000),
    "magic": _flip(0),
    "count": _flip(10),
    "a name that is no number": lambda path: path.rename(path.with_name("x.spans")),
    "half written": lambda path: path.rename(path.with_suffix(".new")),
    "a link": _link,
}


@pytest.mark.parametrize("tear", TORN.values(), ids=TORN)
def test_a_torn_file_is_skipped(spool: Spool, tmp_path: Path, tear: Callable[[Path], object]) -> None:
    """Found at the start: it is counted and removed, and costs no other batch."""
    for number in (1, 2, 3):
        spool.put(b"abc" * number, number)
    spool.close()
    tear(_files(tmp_path / "spool")[1])
    again = Spool(tmp_path / "spool", LIMIT)

    assert (again.torn, again.spans) == (1, 4)
    assert _everything(again) == [(1, b"abc"), (3, b"abc" * 3)]
    again.close()


@pytest.mark.parametrize("damage", [_flip(HEAD.size), Path.unlink], ids=["flipped", "gone"])
def test_a_file_damaged_later(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Content is checked when it is sent: what it held is lost, and counted; the rest goes."""
    spool = Spool(tmp_path / "spool", LIMIT)
    spool.put(b"", 5)
    spool.put(b"x", 7)
    spool.close()
    with receiving("grpc") as receiver:
        found = Spool(tmp_path / "spool", LIMIT)
        damage(_files(tmp_path / "spool")[1])
        exporter = Exporter(receiver.transport(), b"", spool=found)
        until(lambda: exporter.counts.spooled == 0)
        exporter.close()

    assert exporter.counts == Counts(0, 12, 5, {"spool_damaged": 7}, 0, 0)


def test_a_disk_that_takes_nothing(spool: Spool, tmp_path: Path) -> None:
    """An error says so and leaves nothing behind; when the disk is back, so is the spool."""
    (tmp_path / "spool").rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        spool.put(b"x", 1)
    (tmp_path / "away").rename(tmp_path / "spool")

    assert spool.put(b"x", 1)
    assert spool.spans == 1


def _exporter(receiver: Receiver, folder: Path, limit: int = LIMIT) -> Exporter:
    return Exporter(receiver.transport(), b"", spool=Spool(folder, limit), queue=100, batch=10, delay=0.02)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_through_a_restart(tmp_path: Path, protocol: str) -> None:
    """The collector is away: batches go to the disk, what is in memory at the end too; then all are sent."""
    with receiving(protocol) as receiver:
        receiver.behave = lambda number: LATER
        first = _exporter(receiver, tmp_path / "spool")
        for start in range(0, 1000, 50):
            send(first, 50, start)
            until(lambda: first.counts.queued <= 70)
        assert balanced(first.counts)
        first.close()
        assert first.counts == Counts(1000, 0, 0, {}, 0, 1000)

        receiver.behave = lambda number: Reply()
        second = _exporter(receiver, tmp_path / "spool")
        send(second, 10, 1000)
        until(lambda: second.counts.sent == 1010)
        second.close()

    ids = [int.from_bytes(each.span_id) for each in receiver.spans]
    assert sorted(ids) == list(range(1, 1011))
    assert ids[-1] >= 1001
    assert second.counts == Counts(10, 1000, 1010, {}, 0, 0)
    assert _files(tmp_path / "spool") == []


def test_a_full_spool_counts(tmp_path: Path) -> None:
    """When neither memory nor disk has room the newest are lost, and the reason is the spool."""
    with receiving("grpc") as receiver:
        receiver.behave = lambda number: LATER
        exporter = _exporter(receiver, tmp_path / "spool", limit=4096 * 3)
        for start in range(0, 1000, 50):
            send(exporter, 50, start)
        until(lambda: exporter._overflow.full)
        send(exporter, 200)
        exporter.close()
    counts = exporter.counts

    assert (counts.given, counts.queued, counts.spooled) == (1200, 0, 30)
    assert counts.lost["spool_full"] >= 100
    assert balanced(counts)


KILLED = """
    import sys, time
    from pathlib import Path
    from guardhouse.interceptors.record.export import Exporter
    from guardhouse.interceptors.record.export.over_grpc import OverGrpc
    from guardhouse.interceptors.record.export.spool import Spool
    spool = Spool(Path(sys.argv[1]), 2**26)
    exporter = Exporter(OverGrpc("127.0.0.1:1", {}), b"", spool=spool, queue=1000, batch=50)
    while True:
        exporter.export(b"\\x12\\x00", 1)
        if exporter.counts.given % 100 == 0:
            print(exporter.counts.spooled, flush=True)
            time.sleep(0.001)
"""


def test_kill(tmp_path: Path) -> None:
    """A process that is killed in the middle of it loses what it had in memory, and nothing on the disk."""
    code = textwrap.dedent(KILLED)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    spooled = 0
    while spooled < 5000:
        spooled = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    last = int(rest[-2]) if len(rest) > 1 else spooled  # the last line may be half a one
    found = Spool(tmp_path / "spool", 2**26)

    assert found.spans >= last >= 5000
    assert found.torn <= 1
    assert all(request is not None for _, request in _everything(found))
    found.close()
