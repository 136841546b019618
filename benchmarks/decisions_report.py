"""What is shown of the decisions of limits: a table, quoted in the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

NAMES: Final = {
    "rate": "rate, in memory",
    "concurrency": "concurrency, in memory",
    "memory": "budget, in memory",
    "sqlite": "budget, taken ahead from SQLite",
    "redis": "budget, taken ahead from Redis",
}
HEAD: Final = ("1 principal", "1,000", "1,000,000", "1,000, and 100 limits")


def cells(results: Mapping[str, Any]) -> list[list[str]]:
    """The lines of the table, each with its name first."""
    rows = results["rows"].items()
    return [[NAMES[kind], *("{:.1f} ({:.1f}..{:.1f})".format(*each) for each in row)] for kind, row in rows]


def quote(results: Mapping[str, Any]) -> str:
    """What the documentation shows of the results, in Markdown."""
    head = ["us for a decision", *HEAD]
    lines = [head, ["---"] * len(head), *cells(results)]
    return _machine(results) + "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def terminal(results: Mapping[str, Any]) -> str:
    """The results for a person at a terminal."""
    lines = [["us for a decision", *HEAD], *cells(results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ("  ".join(map(str.rjust, line, widths)) for line in lines)
    skipped = (f"{kind}: not measured: {why}" for kind, why in results["skipped"].items())
    return "\n".join((*shown, *skipped))


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Put decisions.json and .md into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decisions.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "decisions.md").write_text(quote(results), encoding="utf-8")


def _machine(results: Mapping[str, Any]) -> str:
    return (
        f"{results['cores']} cores ({results['processor']}), CPython {results['python']}:"
        f" {results['rounds']} rounds of {results['decisions']} decisions.\n"
    )
