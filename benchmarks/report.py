"""Results as files: JSON with everything, from it a table and a chart; the table in the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import decisions_report
from .chart import chart
from .processes import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results"
DOCUMENT: Final = ROOT / "docs" / "performance.md"

COLUMNS: Final = {  # of the table, those measured: heading, key, digits behind the point
    "CPU us": ("cpu_us", 0),
    "calls/s": ("per_second", 0),
    "p50 ms": ("p50_ms", 2),
    "p99 ms": ("p99_ms", 2),
}
OVER: Final = "over us"
RATIOS: Final = {"CPU": "cpu", "calls": "calls", "p50": "p50", "p99": "p99"}  # heading, key


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table, without its name."""
    absolute = [f"{row[key]:.{digits}f}" for key, digits in COLUMNS.values()]
    over = "{:.0f} ({:.0f}..{:.0f})".format(*row["over_us"])
    relative = ["{:.2f} ({:.2f}..{:.2f})".format(*row["ratios"][key]) for key in RATIOS.values()]
    spans = f"{row['spans']} of {row['calls']}" if row["traces"] else "none"
    return [*absolute, over, *relative, spans]


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    head = ["server", *COLUMNS, OVER, *RATIOS, "spans"]
    lines = [head, ["---"] * len(head)]
    lines += [[f"`{name}`", *cells(row)] for name, row in results["rows"].items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(results: Mapping[str, Any]) -> str:
    """On what was measured, and how much, in one line."""
    return (
        f"{results['cores']} cores ({results['processor']}), CPython {results['python']},"
        f" grpcio {results['grpcio']}: {results['rounds']} rounds of {results['calls']} calls,"
        f" {results['flight']} in flight.\n"
    )


def terminal(results: Mapping[str, Any]) -> str:
    """The results for a person at a terminal."""
    head = ["", *COLUMNS, OVER, *RATIOS, "spans"]
    lines = [head, *([name, *cells(row)] for name, row in results["rows"].items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ("  ".join(map(str.rjust, line, widths)) for line in lines)
    skipped = (f"{name}: not measured: {why}" for name, why in results["skipped"].items())
    return "\n".join((*shown, *skipped))


def write(name: str, results: Mapping[str, Any], folder: Path) -> None:
    """Put *name*.json, .md and .svg into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"json": json.dumps(results, indent=1) + "\n", "md": quote(results), "svg": chart(results)}
    for kind, text in files.items():
        (folder / f"{name}.{kind}").write_text(text, encoding="utf-8")


def quote(results: Mapping[str, Any]) -> str:
    """What the documentation shows of the results."""
    return f"{machine(results)}\n{table(results)}"


def quoted(document: str, name: str, text: str) -> str:
    """*document* with *text* between its marks `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: It has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    marked = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marked.search(document):
        raise ValueError(f"no {begin.strip()} … {end} in the document")
    return marked.sub(lambda _: begin + text + end, document)


def update(names: Sequence[str] = ("bench", "peers")) -> None:
    """Render every kept result again, and quote it in the documentation."""
    document = DOCUMENT.read_text(encoding="utf-8")
    for name in names:
        results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        write(name, results, RESULTS)
        document = quoted(document, name, quote(results))
    decided = json.loads((RESULTS / "decisions.json").read_text(encoding="utf-8"))
    decisions_report.write(decided, RESULTS)
    document = quoted(document, "decisions", decisions_report.quote(decided))
    DOCUMENT.write_text(document, encoding="utf-8")


if __name__ == "__main__":
    update()
