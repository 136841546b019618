"""The ledger's disk fails under load: full, read-only, or its folder is gone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from callers import Callers
from gate import COMMAND, Gate, until
from sink import Sink

Change = Callable[[Gate], None]
BROKEN = 1  # exit status of `audit verify`


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True)


@pytest.fixture
def gate(tmp_path: Path, sink: Sink) -> Iterator[Gate]:
    """A folder for a server."""
    made = Gate(tmp_path / "demo", sink.port)
    yield made
    made.kill()


@pytest.fixture
def small_disk(gate: Gate) -> Iterator[Path]:
    """A real file system of 32 MiB under the ledger."""
    folder = gate.folder / "ledger"
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        run("mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    gate.kill()
    while folder.is_mount():  # a test that failed may have left another one over it
        run("umount", "-l", str(folder))


def fill(gate: Gate) -> None:
    """Take all the room that is left."""
    with (gate.folder / "ledger" / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 20))


def empty(gate: Gate) -> None:
    (gate.folder / "ledger" / "filler").unlink()


def lay_over(gate: Gate) -> None:
    """Have the path lead to a file system that nobody can write."""
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(gate.folder / "ledger"))


def lift(gate: Gate) -> None:
    run("umount", "-l", str(gate.folder / "ledger"))


def swap(gate: Gate) -> None:
    """Have something else stand in the folder's place."""
    with gate.held():
        (gate.folder / "ledger").rename(gate.folder / "aside")
        (gate.folder / "ledger").write_text("in the way")


def swap_back(gate: Gate) -> None:
    with gate.held():
        (gate.folder / "ledger").unlink()
        (gate.folder / "aside").rename(gate.folder / "ledger")


def through(gate: Gate, durability: str, breaks: Change, mends: Change) -> Callers:
    """Many ask while the disk fails and comes back: what they are told, and that no model runs meanwhile."""
    gate.start("--set", f"audit.durability={durability}")
    with Callers(gate) as callers:
        until(lambda: callers.each("OK", 10))
        breaks(gate)
        until(lambda: callers.each("UNAVAILABLE", 2))
        calls = gate.calls()
        until(lambda: callers.each("UNAVAILABLE", 20))
        assert gate.calls() == calls, "a model ran for a caller who could only be refused"
        mends(gate)
        until(lambda: callers.each("OK", 10))
    assert gate.stop() == 0, gate.log()

    assert callers.left == [], "each call was answered or refused by the server, in time"
    assert {(said.status, said.reason) for said in callers.all().values()} == {
        ("OK", ""),
        ("UNAVAILABLE", "LEDGER_UNAVAILABLE"),
    }
    return callers


def all_is_told(gate: Gate, callers: Callers) -> None:
    """Every call has its line, once, and the ledger says of each what its caller was told."""
    withheld = {line["call"] for line in gate.entries("withheld")}
    lines = gate.entries("query")
    told = {
        line["trace"]: "UNAVAILABLE" if line["call"] in withheld else str(line["status"]) for line in lines
    }
    assert len(told) == len(lines)
    assert told == {trace: said.status for trace, said in callers.all().items()}
    assert gate.calls() == sum(line["status"] == "OK" for line in lines)
    assert not gate.entries("gap"), "nothing was lost"
    assert gate.verified()["intact"]


@pytest.mark.parametrize("durability", ["buffered", "strict"])
def test_a_full_disk(gate: Gate, small_disk: Path, durability: str) -> None:
    """Calls are refused before the model runs, until there is room again; then all lines are written."""
    callers = through(gate, durability, fill, empty)

    assert "No space left on device" in gate.log()
    all_is_told(gate, callers)


def test_stopped_while_the_disk_is_full(gate: Gate, small_disk: Path) -> None:
    """What cannot be written is counted, and the exit is 1; the next start tells that something is lost."""
    gate.start()
    with Callers(gate) as callers:
        until(lambda: callers.each("OK", 10))
        fill(gate)
        until(lambda: callers.each("UNAVAILABLE", 2))
        assert gate.stop() == 1
    counted = re.search(
        r"^guardhouse: (\d+) ledger lines could not be written: .*No space", gate.log(), re.MULTILINE
    )
    lost = set(callers.all()) - {line["trace"] for line in gate.entries("query")}
    assert 0 < len(lost) < int(counted[1]), "its own last lines count as well"

    empty(gate)
    assert (gate.start().stop(), gate.verified()["intact"]) == (0, True)
    assert [start["closed"] for start in gate.entries("start")] == [True, False]


def test_a_read_only_disk(gate: Gate, small_disk: Path) -> None:
    """The same where the disk takes no writes any more."""
    callers = through(gate, "strict", lay_over, lift)

    assert "Read-only file system" in gate.log()
    all_is_told(gate, callers)


def test_a_folder_that_cannot_be_made_again(gate: Gate) -> None:
    """The same where something else stands in the folder's place."""
    callers = through(gate, "buffered", swap, swap_back)

    assert "Not a directory" in gate.log()
    all_is_told(gate, callers)


def test_a_deleted_folder(gate: Gate) -> None:
    """It is made again, and no call is refused; a gap tells of what was in it, and no more is missing."""
    gate.start("--set", "audit.durability=strict")
    with Callers(gate) as callers:
        until(lambda: callers.each("OK", 10))
        with gate.held():
            deleted = gate.entries()
            shutil.rmtree(gate.folder / "ledger")
        until(lambda: gate.ledger_file.exists() and gate.entries("gap"))
        so_far = len(callers.answered())
        until(lambda: len(callers.answered()) >= so_far + 50)
    assert gate.stop() == 0, gate.log()

    assert {said.status for said in callers.all().values()} == {"OK"}
    entries, (gap,) = gate.entries(), gate.entries("gap")
    assert (gap["reason"], gap["last"]) == ("earlier file gone", entries[0]["seq"] - 1)
    assert deleted[-1]["seq"] >= gap["last"]
    lines = [entry["trace"] for entry in (*deleted, *entries) if entry["kind"] == "query"]
    assert set(lines) == callers.answered()
    verify = [COMMAND, "audit", "verify", str(gate.folder / "ledger"), "--json"]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert done.returncode == BROKEN, "lines are missing, and that is said"
    assert [fault["what"] for fault in json.loads(done.stdout)["faults"]] == ["missing"]
