"""Starts the servers of the rows, and measures one of them at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .arithmetic import Figures
from .processes import cpu, port_in, program, said, told
from .rows import Row

POLICY: Final = """
roles:
  analyst:
    allow: [{methods: [ModelInfer], models: [echo]}]
    limits: {rate: 1000000/s, burst: 1000000}
bindings:
  - {role: analyst, claim: {roles: analyst}}
"""
PAUSE: Final = 0.3  # seconds after a load in which a server writes down what it still holds
PATIENCE: Final = 12.0  # seconds without a new span after which those missing are lost: the SDK waits 5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: calls before, calls measured, calls in flight; and how often."""

    rounds: int
    calls: int
    warm: int
    flight: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running row. `spans` tells how many of its spans have come to the collector."""

    row: Row
    folder: Path
    pid: int
    port: int
    spans: Callable[[], int]


@contextmanager
def serving(rows: Sequence[Row], folder: Path) -> Iterator[dict[str, Server]]:
    """All *rows* running, by name, with what they need in *folder*."""
    _prepare(folder)
    with ExitStack() as stack:
        sink = stack.enter_context(program("sink", str(len(rows)), ends="input"))
        ports = json.loads(said(sink))
        servers = {}
        for place, row in enumerate(rows):
            module, *words = row.program
            started = stack.enter_context(program(module, folder, f"127.0.0.1:{ports[place]}", *words))
            port = port_in(said(started))
            servers[row.name] = Server(row, folder, started.pid, port, _counter(sink, place))
        yield servers


def _prepare(folder: Path) -> None:
    """Keys, certificates, a token and a configuration, as `guardhouse init` makes them."""
    command = Path(sys.executable).with_name("guardhouse")
    subprocess.run(
        [command, "init", folder, "--force", "--model", "echo=benchmarks.echo:echo"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")


def _counter(sink: subprocess.Popen[str], place: int) -> Callable[[], int]:
    def count() -> int:
        told(sink)
        return int(json.loads(said(sink))[place])

    return count


def measured(server: Server, size: Size) -> dict[str, float]:
    """One load on one server: what the load saw, what the server spent, and how many spans arrived.

    The processor time ends with the last span: what is sent late is not sent for nothing.
    """
    row, before = server.row, server.spans()
    way = "plain" if row.plain else "tls"
    numbers = map(str, (server.port, size.calls, size.warm, size.flight))
    with program("load", server.folder, *numbers, way, ends="input") as load:
        said(load)
        before = _spans_arrived(server, before + 1 + size.warm)
        spent = cpu(server.pid)
        told(load)
        seen = json.loads(said(load))
        spans = _spans_arrived(server, before + size.calls) - before
        spent = cpu(server.pid) - spent
    return {
        "cpu_us": spent / size.calls * 1e6,
        "per_second": seen["calls"] / seen["seconds"],
        "p50_ms": seen["p50"],
        "p99_ms": seen["p99"],
        "spans": spans,
        "calls": seen["calls"],
    }


def _spans_arrived(server: Server, wanted: int) -> int:
    """How many spans have arrived, once *wanted* have, or no more come."""
    time.sleep(PAUSE)
    if not server.row.traces:
        return server.spans()
    return settled(server.spans, wanted, time.monotonic, time.sleep)


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


def pairs(
    rows: Sequence[Row], servers: Mapping[str, Server], size: Size
) -> dict[str, list[tuple[Figures, Figures]]]:
    """(base, own) of every row in every round. Each row is measured right beside its base.

    Every other round goes backwards, so that nobody always goes first.
    """
    found: dict[str, list[tuple[Figures, Figures]]] = {row.name: [] for row in rows}
    for number in range(size.rounds):
        print(f"round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
        forth = number % 2 == 0
        for row in rows if forth else rows[::-1]:
            two = (servers[row.base], servers[row.name])
            first, second = (measured(each, size) for each in (two if forth else two[::-1]))
            found[row.name].append((first, second) if forth else (second, first))
    return found
