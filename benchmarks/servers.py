"""Starts the servers of the rows, and the collector that all their spans go to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .processes import port_in, program, said, told
from .rows import Row

POLICY: Final = """
roles:
  analyst:
    allow: [{methods: [ModelInfer], models: [echo]}]
    limits: {rate: 1000000/s, burst: 1000000}
bindings:
  - {role: analyst, claim: {roles: analyst}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running row. `spans` tells how many of its spans have come to the collector."""

    row: Row
    folder: Path
    pid: int
    port: int
    spans: Callable[[], int]


@contextmanager
def serving(rows: Sequence[Row], folder: Path) -> Iterator[list[Server]]:
    """A server for each of *rows*, in their order, with what they need in *folder*."""
    _prepare(folder)
    with ExitStack() as stack:
        sink = stack.enter_context(program("sink", str(len(rows)), ends="input"))
        ports = json.loads(said(sink))
        servers = []
        for place, row in enumerate(rows):
            module, *words = row.program
            started = stack.enter_context(program(module, folder, f"127.0.0.1:{ports[place]}", *words))
            port = port_in(said(started))
            servers.append(Server(row, folder, started.pid, port, _counter(sink, place)))
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
