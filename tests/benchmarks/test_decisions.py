"""What a decision of a limit costs: the benchmark runs, and the document quotes what it kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.deciding import KINDS, calls, granted, missing, opened, principals
from benchmarks.decisions import COLUMNS
from benchmarks.decisions_report import HEAD, quote
from benchmarks.processes import ROOT
from benchmarks.report import DOCUMENT, RESULTS, quoted


def test_every_limit_from_end_to_end(tmp_path: Path) -> None:
    """Each kind is measured in each column, or said to be missing; the files say what was printed."""
    command = [sys.executable, "-m", "benchmarks.decisions", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "decisions.json").read_text())
    assert {*found["rows"], *found["skipped"]} == set(KINDS)
    assert all(len(row) == len(COLUMNS) == len(HEAD) for row in found["rows"].values())
    assert all(least <= middle <= most for row in found["rows"].values() for middle, least, most in row)
    assert (tmp_path / "decisions.md").read_text() == quote(found)


def test_what_is_measured_is_a_limit_that_counts() -> None:
    """Of a hundred limits in the policy one counts the caller, and in it the calls are really charged."""
    for kind in (kind for kind in KINDS if not missing(kind)):
        right = granted(kind, 100)
        assert len((*right.rates, *right.slots, *right.budgets)) == 1
        with opened(kind) as bench:
            (call,) = calls(list(principals(1)), right)
            bench.decide(call)
        assert call.units == 1 if kind == "rate" else call.work is not None or kind != "concurrency"


def test_the_document_quotes_the_results() -> None:
    """To the letter, and of every kind."""
    text, found = DOCUMENT.read_text(), json.loads((RESULTS / "decisions.json").read_text())
    assert quoted(text, "decisions", quote(found)) == text
    assert set(found["rows"]) == set(KINDS)
    assert (RESULTS / "decisions.md").read_text() == quote(found)
