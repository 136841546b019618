"""Measures two servers in turns: one of a row, and the one that it is compared with."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .arithmetic import Figures
from .processes import cpu, program, said, told
from .rows import Row
from .servers import Server, serving

TURNS: Final = 10  # of each server in one round
PAUSE: Final = 0.3  # seconds after a load in which a server writes down what it still holds
PATIENCE: Final = 12.0  # seconds without a new span after which those missing are lost: the SDK waits 5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: rounds; in each, of each server, calls, calls before, calls in flight."""

    rounds: int
    calls: int
    warm: int
    flight: int


class Loaded:
    """A server under a load of its own."""

    def __init__(self, server: Server, size: Size, stack: ExitStack) -> None:
        self._server, self._size = server, size
        self._before = server.spans()
        self._spent = 0.0
        way = "plain" if server.row.plain else "tls"
        numbers = map(str, (server.port, size.warm, size.flight))
        self._load: subprocess.Popen[str] = stack.enter_context(
            program("load", server.folder, *numbers, way, ends="input")
        )

    def begin(self) -> None:
        """Begin to count, once it is warm and has sent the spans of that."""
        said(self._load)
        self._before = self._arrived(1 + self._size.warm)
        self._spent = cpu(self._server.pid)

    def turn(self) -> None:
        """Make its share of the calls."""
        told(self._load, str(self._size.calls // TURNS))
        said(self._load)

    def end(self) -> Figures:
        """What was measured. The processor time ends with the last span: nothing is cheap for being late."""
        calls = self._size.calls // TURNS * TURNS
        spans = self._arrived(calls) - self._before
        spent = cpu(self._server.pid) - self._spent
        told(self._load)
        seen = json.loads(said(self._load))
        return {
            "cpu_us": spent / calls * 1e6,
            "per_second": seen["calls"] / seen["seconds"],
            "p50_ms": seen["p50"],
            "p99_ms": seen["p99"],
            "spans": spans,
            "calls": seen["calls"],
        }

    def _arrived(self, more: int) -> int:
        """How many spans have arrived, once there are *more*, or no more come."""
        time.sleep(PAUSE)
        if not self._server.row.traces:
            return self._server.spans()
        return settled(self._server.spans, self._before + more, time.monotonic, time.sleep)


def settled(
    count: Callable[[], int], wanted: int, now: Callable[[], float], rest: Callable[[float], None]
) -> int:
    """What *count* says, once it is *wanted* or has not changed for `PATIENCE` seconds."""
    last, since = count(), now()
    while last < wanted and now() - since < PATIENCE:
        rest(0.1)
        if (found := count()) != last:
            last, since = found, now()
    return last


def measured(base: Server, own: Server, size: Size) -> tuple[Figures, Figures]:
    """Both under load, in turns of a fraction of a second, so that good moments and bad ones are shared."""
    with ExitStack() as stack:
        both = [Loaded(server, size, stack) for server in (base, own)]
        for each in both:
            each.begin()
        for turn in range(TURNS):
            for each in both if turn % 2 else both[::-1]:
                each.turn()
        first, second = (each.end() for each in both)
    return first, second


def pairs(bases: Sequence[Row], rows: Sequence[Row], size: Size) -> dict[str, list[tuple[Figures, Figures]]]:
    """(base, own) of every row in every round; every other round goes backwards.

    A base has a server of its own, apart from its row's. Servers are new in every round: two processes of one
    kind may differ by some percent for as long as they live.
    """
    found: dict[str, list[tuple[Figures, Figures]]] = {row.name: [] for row in rows}
    for number in range(size.rounds):
        print(f"round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder, serving([*bases, *rows], Path(folder)) as servers:
            named = {server.row.name: server for server in servers[: len(bases)]}
            for server in servers[len(bases) :][:: -1 if number % 2 else 1]:
                found[server.row.name].append(measured(named[server.row.base], server, size))
    return found
