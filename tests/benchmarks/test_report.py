"""What is written of a result: the table, the chart, and the place in a document where it is quoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.report import quoted, table, terminal, write

ROW = {
    "what": "a server <of ours> & more",
    "base": "bare",
    "ours": True,
    "traces": True,
    "cpu_us": 212.4,
    "per_second": 3333.3,
    "p50_ms": 4.754,
    "p99_ms": 9.071,
    "over_us": [21.2, 9.6, 35.4],
    "ratios": {"cpu": [0.9, 0.85, 0.95], "calls": [0.8, 0.7, 0.9], "p50": [1, 1, 1], "p99": [1.1, 1, 1.25]},
    "spans": 49_999,
    "calls": 50_000,
}
RESULTS: dict[str, Any] = {
    "python": "3.11.7",
    "grpcio": "1.83.2",
    "cores": 2,
    "processor": "Some Xeon",
    "rounds": 5,
    "calls": 10_000,
    "flight": 16,
    "skipped": {"kserve": "not here"},
    "rows": {"bare": {**ROW, "ours": False, "traces": False}, "chain": ROW},
}


def test_the_table() -> None:
    """A line for each row: medians, ratios with their spread, and the spans that came of those sent."""
    lines = table(RESULTS).splitlines()
    assert (
        lines[0]
        == "| server | CPU us | calls/s | p50 ms | p99 ms | over us | CPU | calls | p50 | p99 | spans |"
    )
    assert lines[2].endswith("| none |")
    assert lines[3] == (
        "| `chain` | 212 | 3333 | 4.75 | 9.07 | 21 (10..35) | 0.90 (0.85..0.95)"
        " | 0.80 (0.70..0.90) | 1.00 (1.00..1.00) | 1.10 (1.00..1.25) | 49999 of 50000 |"
    )


def test_the_terminal_says_what_was_left_out() -> None:
    """A row that could not be measured is named, with the reason."""
    assert terminal(RESULTS).splitlines()[-1] == "kserve: not measured: not here"


def test_three_files(tmp_path: Path) -> None:
    """The JSON reads back, the table is in the Markdown, and the chart has a bar for each row."""
    write("it", RESULTS, tmp_path / "new")
    assert json.loads((tmp_path / "new/it.json").read_text()) == json.loads(json.dumps(RESULTS))
    assert table(RESULTS) in (tmp_path / "new/it.md").read_text()
    image = ElementTree.parse(tmp_path / "new/it.svg").getroot()
    bars = [each for each in image.iter() if each.tag.endswith("rect")][1:]  # the first is the ground
    assert [float(bar.attrib["width"]) for bar in bars] == [396.0, 396.0]
    assert "chain: a server <of ours> & more" in [each.text for each in image.iter()]


def test_a_quotation_is_replaced_between_its_marks() -> None:
    """Nothing else of the document changes; without the marks nothing is written at all."""
    document = "a\n<!-- it -->\nold\n<!-- /it -->\nb\n<!-- other -->\nc\n<!-- /other -->\n"
    assert quoted(document, "it", "new\\1\n") == document.replace("old\n", "new\\1\n")
    with pytest.raises(ValueError, match="no <!-- else -->"):
        quoted(document, "else", "new\n")
