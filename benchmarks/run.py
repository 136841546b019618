"""`make bench` and `make bench-peers`: servers without and with a guard; see docs/performance.md."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import grpc

from .arithmetic import Figures, summary
from .measure import TURNS, Size, pairs
from .peers import missing
from .report import RESULTS, terminal, update, write
from .rows import PEERS, ROWS, Row, chosen

SIZE: Final = Size(rounds=5, calls=10_000, warm=2_000, flight=16)
QUICK: Final = Size(rounds=1, calls=300, warm=50, flight=16)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; keep the results if everything was measured in full."""
    wanted = _parser().parse_args(arguments)
    name, known = ("peers", PEERS) if wanted.peers else ("bench", ROWS)
    try:
        rows = chosen(known, wanted.rows)
        size = _size(wanted)
    except ValueError as error:
        sys.exit(f"benchmarks: {error}")
    skipped = {row.name: why for row in rows if (why := missing(row.peer))}
    measurable = [row for row in rows if row.name not in skipped]
    results = {**facts(), **asdict(size), "skipped": skipped, **compared(measurable, known, size)}
    print(terminal(results))
    if wanted.out:
        write(name, results, wanted.out)
    elif size == SIZE and rows == known:
        write(name, results, RESULTS)
        update()
        print("kept in benchmarks/results, and quoted in docs/performance.md")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="other people's servers and a proxy, not ours")
    parser.add_argument("--rows", default="", metavar="NAME,...", help="these rows alone; default: all")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it runs")
    parser.add_argument("--rounds", type=int, help=f"measurements of each row (default {SIZE.rounds})")
    parser.add_argument("--calls", type=int, help=f"calls in one measurement (default {SIZE.calls})")
    parser.add_argument("--flight", type=int, help=f"calls in flight (default {SIZE.flight})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the results there")
    return parser


def _size(wanted: argparse.Namespace) -> Size:
    size = QUICK if wanted.quick else SIZE
    if wanted.calls is not None and wanted.calls < TURNS:
        raise ValueError(f"--calls {wanted.calls} is too few; write at least {TURNS}")
    return Size(
        rounds=wanted.rounds or size.rounds,
        calls=wanted.calls or size.calls,
        warm=size.warm,
        flight=wanted.flight or size.flight,
    )


def compared(rows: Sequence[Row], known: Sequence[Row], size: Size) -> dict[str, Any]:
    """Every row measured and summed up: `rows`, and what was measured, round by round."""
    bases = [row for row in known if row.name in {each.base for each in rows}]
    found = pairs(bases, rows, size)
    return {"rows": {row.name: _summed(row, found[row.name]) for row in rows}, "measured": _kept(found)}


def _summed(row: Row, measured: Sequence[tuple[Figures, Figures]]) -> dict[str, Any]:
    told = {"what": row.what, "base": row.base, "traces": row.traces, "ours": row.ours}
    return {**told, **summary(measured)}


def _kept(found: Mapping[str, Sequence[tuple[Figures, Figures]]]) -> dict[str, Any]:
    return {
        name: [
            {key: {each: round(value, 3) for each, value in figures.items()} for key, figures in two}
            for two in (zip(("base", "own"), pair, strict=True) for pair in measured)
        ]
        for name, measured in found.items()
    }


def facts() -> dict[str, Any]:
    """On what is measured."""
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"(?m)^model name\s*: (.*)$", about)
    return {
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "cores": os.cpu_count(),
        "processor": found[1] if found else platform.machine(),
    }


if __name__ == "__main__":
    main()
