"""The benchmark itself runs, from its command line to its results; nothing is said here of how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`make bench` with *arguments*."""
    command = [sys.executable, "-m", "benchmarks.run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_two_rows_from_end_to_end(tmp_path: Path) -> None:
    """Real servers, a real load: every call is answered, and every span of the guarded one is received."""
    done = bench("--quick", "--calls", "60", "--rows", "bare,chain", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {name: (row["calls"], row["spans"]) for name, row in found["rows"].items()} == {
        "bare": (60, 0),
        "chain": (60, 60),
    }
    assert [len(found["measured"][name]) for name in ("bare", "chain")] == [1, 1]
    assert "chain" in done.stdout
    assert "60 of 60" in done.stdout


def test_a_row_that_is_none() -> None:
    """A slip in a name costs a line, not a quarter of an hour."""
    done = bench("--rows", "bare,chian")
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks: no row chian; there are bare, batched, no-sink, ")


def test_too_few_calls() -> None:
    """Calls are made in turns, so there has to be one for each."""
    done = bench("--rows", "bare", "--calls", "9")
    assert (done.returncode, done.stderr) == (1, "benchmarks: --calls 9 is too few; write at least 10\n")
