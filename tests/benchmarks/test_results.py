"""The figures that docs/performance.md quotes are those in benchmarks/results, and its rows are rows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchmarks.chart import chart
from benchmarks.report import DOCUMENT, RESULTS, quote, quoted
from benchmarks.rows import PEERS, ROWS, Row

TEXT = DOCUMENT.read_text()
TABLES = pytest.mark.parametrize(
    ("name", "known"), [("bench", ROWS), ("peers", PEERS)], ids=["bench", "peers"]
)


def results(name: str) -> dict[str, Any]:
    """What was measured last, and kept."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


@TABLES
def test_the_document_quotes_the_results(name: str, known: tuple[Row, ...]) -> None:
    """To the letter: `python -m benchmarks.report` puts it right. Every row is there or said not to be."""
    found = results(name)
    assert quoted(TEXT, name, quote(found)) == TEXT
    assert {*found["rows"], *found["skipped"]} == {row.name for row in known}


@TABLES
def test_table_and_chart_are_of_the_results(name: str, known: tuple[Row, ...]) -> None:
    """The files beside the JSON say the same, and every row has a bar in the chart."""
    found = results(name)
    assert (RESULTS / f"{name}.md").read_text() == quote(found)
    assert (RESULTS / f"{name}.svg").read_text() == chart(found)
    assert all(f">{row.name}: " in chart(found) for row in known if row.name in found["rows"])


@TABLES
def test_no_span_was_lost_for_a_good_figure(name: str, known: tuple[Row, ...]) -> None:
    """Each row that traces had every span received."""
    traced = {row.name for row in known if row.traces}
    assert {row for row, told in results(name)["rows"].items() if told["traces"]} <= traced
    assert all(told["spans"] == told["calls"] for told in results(name)["rows"].values() if told["traces"])


def test_the_rows_of_the_document_are_rows() -> None:
    """Each is explained once, in the order of the tables, and none that there is not."""
    explained = TEXT.partition("## What is compared")[2].partition("\n## ")[0]
    named = re.findall(r"(?m)^\| `([a-z-]+)` \| ", explained)
    assert named == [row.name for row in (*ROWS, *PEERS[2:])]
