"""`make bench-limits`: what one decision of a limit costs; see docs/performance.md."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Final

from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.policy.grants import Grant

from .deciding import KINDS, Bench, calls, granted, missing, opened, principals
from .decisions_report import terminal, write
from .report import RESULTS, update
from .run import facts

BUSY: Final = 1000  # principals who call, of all that are known
TOGETHER: Final = 100  # calls made before each is decided about: a server has just made its call, too
COLUMNS: Final = ((1, 1), (1_000, 1), (1_000_000, 1), (1_000, 100))  # principals, and limits in the policy


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: *rounds* of *decisions* each, with at most *most* principals."""

    rounds: int
    decisions: int
    most: int


SIZE: Final = Size(rounds=15, decisions=10_000, most=1_000_000)
QUICK: Final = Size(rounds=1, decisions=500, most=2_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; keep the results if everything was measured in full."""
    wanted = _parser().parse_args(arguments)
    size = QUICK if wanted.quick else SIZE
    kinds = wanted.kinds or KINDS
    skipped = {kind: why for kind in kinds if (why := missing(kind))}
    rows = {kind: measured(kind, size) for kind in kinds if kind not in skipped}
    results = {**facts(), **asdict(size), "skipped": skipped, "rows": rows}
    print(terminal(results))
    if wanted.out:
        write(results, wanted.out)
    elif size == SIZE and tuple(kinds) == KINDS and not skipped:
        write(results, RESULTS)
        update()
        print("kept in benchmarks/results, and quoted in docs/performance.md")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it runs")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the results there")
    return parser


def measured(kind: str, size: Size) -> list[list[float]]:
    """Microseconds of a decision in each of `COLUMNS`: median, least and greatest of the rounds."""
    return [_column(kind, min(count, size.most), rules, size) for count, rules in COLUMNS]


def _column(kind: str, count: int, rules: int, size: Size) -> list[float]:
    grant = granted(kind, rules)
    with opened(kind) as bench:
        bench.know(calls(principals(count - min(BUSY, count)), grant))
        busy = list(principals(min(BUSY, count)))
        rounds = [_round(bench, busy, grant, size.decisions) for _ in range(size.rounds)]
    gc.collect()
    return [round(value, 2) for value in (median(rounds), min(rounds), max(rounds))]


def _round(bench: Bench, busy: Sequence[Principal], grant: Grant, decisions: int) -> float:
    """Microseconds that a decision takes, in one thread that does nothing else; the busy call in turn."""
    decide = bench.decide
    for call in calls(busy, grant):  # what idled between two rounds was given back
        decide(call)
    calling, spent = cycle(busy), 0.0
    for _ in range(decisions // TOGETHER):
        asked = list(calls(islice(calling, TOGETHER), grant))
        begun = time.perf_counter()
        for call in asked:
            decide(call)
        spent += time.perf_counter() - begun
    return spent / (decisions // TOGETHER * TOGETHER) * 1e6


if __name__ == "__main__":
    main()
