"""`python -m benchmarks.flood`: a polite caller beside a flood at twenty times what the model can do."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import grpc

from guardhouse.interceptors.methods import MODEL_INFER

from .flooding import OWN, bearer, bodies, credentials
from .processes import ROOT, port_in, program, said

COMMAND: Final = str(Path(sys.executable).with_name("guardhouse"))
THREADS: Final = 4
RATE: Final = 20 * 40  # the model does 40 calls a second
PATIENCE: Final = 20.0  # seconds after which the polite caller gives a call up
CROWDS: Final = {"without a token": 0, "one identity": 1, "twenty identities": 20}
POLICY: Final = """
roles:
  crowd: {allow: [{methods: [ModelInfer], models: [sleeping]}], limits: {rate: 100000/s}}
  polite: {allow: [{methods: [ModelInfer], models: [sleeping]}], limits: {rate: 100000/s, weight: 10}}
bindings:
  - {role: crowd, claim: {roles: crowd}}
  - {role: polite, claim: {roles: polite}}
"""
HEAD: Final = ("flood", "kept %", "p99 alone ms", "p99 beside ms", "ratio", "in the model", "memory MiB")


class Gate(NamedTuple):
    """A server that runs: its process, the folder of its keys, where it listens."""

    pid: int
    folder: Path
    target: str

    @property
    def reached(self) -> int:
        """Calls that the model has seen."""
        witness = self.folder / "witness"
        return witness.stat().st_size if witness.exists() else 0

    @property
    def memory(self) -> float:
        """Resident, in MiB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def token(self, role: str, subject: str) -> str:
        """A new one."""
        wanted = ("--subject", subject, "--role", role, "--dir", str(self.folder))
        return _command("token", "issue", *wanted)


class Round(NamedTuple):
    """What was measured beside one flood; seconds, MiB."""

    kept: float
    alone: float
    beside: float
    ratio: float
    reached: float
    grown: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    wanted = _parser().parse_args(arguments)
    with TemporaryDirectory() as folder, _serving(Path(folder) / "demo") as gate:
        rounds = [
            {name: measured(gate, count, wanted.seconds) for name, count in CROWDS.items()}
            for _ in range(wanted.rounds)
        ]
    if wanted.json:
        print(json.dumps([{name: each._asdict() for name, each in one.items()} for one in rounds], indent=1))
    else:
        print(table(rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="default: 3; the median is shown")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement; default: 10")
    parser.add_argument("--json", action="store_true", help="print every round, not a table")
    return parser


def measured(gate: Gate, count: int, seconds: float) -> Round:
    """One flood by *count* identities; by nobody, on eight connections, if 0."""
    mine = gate.token("polite", "polite")
    tokens = [gate.token("crowd", f"caller-{number}") for number in range(count)] or [""]
    alone, _ = polite(gate, mine, seconds)
    reached, memory = gate.reached, gate.memory
    with flooded(gate, tokens * (8 if len(tokens) == 1 else 1)):
        beside, kept = polite(gate, mine, seconds)
        grown, seen = gate.memory - memory, gate.reached - reached
    fast, slow = p99(alone), p99(beside)
    return Round(100 * kept / len(beside), fast, slow, slow / fast, seen - kept, grown)


@contextmanager
def flooded(gate: Gate, tokens: list[str]) -> Iterator[None]:
    """The flood, all the while."""
    orders = {"target": gate.target, "pki": str(gate.folder / "pki"), "tokens": tokens, "rate": RATE}
    with program("flooding", json.dumps(orders), ends="input") as process:
        said(process)
        yield
        process.communicate()


def polite(gate: Gate, token: str, seconds: float) -> tuple[list[float], int]:
    """Ask one call after the other: seconds that each took, and how many were answered."""
    took: list[float] = []
    kept, asked = 0, bodies()
    with grpc.secure_channel(gate.target, credentials(gate.folder / "pki"), [OWN]) as channel:
        method: Any = channel.unary_unary(MODEL_INFER)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                method(asked[len(took) % len(asked)], metadata=bearer(token), timeout=PATIENCE)
                kept += 1
            except grpc.RpcError as error:
                print(f"lost: {error.code().name}", file=sys.stderr)
            took.append(time.monotonic() - began)
    return took, kept


def p99(took: Sequence[float]) -> float:
    """The time that 99 of a hundred do not exceed."""
    return sorted(took)[-1 - len(took) // 100]


def table(rounds: Sequence[Mapping[str, Round]]) -> str:
    """The median of the rounds, in Markdown."""
    lines = [list(HEAD), ["---"] * len(HEAD)]
    for name in CROWDS:
        kept, alone, beside, ratio, reached, grown = (
            median(values) for values in zip(*(one[name] for one in rounds), strict=True)
        )
        shown = f"{kept:.1f}", f"{alone * 1e3:.0f}", f"{beside * 1e3:.0f}", f"{ratio:.2f}"
        lines.append([name, *shown, f"{reached:.0f}", f"{grown:.0f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def _serving(folder: Path) -> Iterator[Gate]:
    """A server as `guardhouse init` makes it, with a model that sleeps."""
    _command("init", str(folder))
    config = folder / "guardhouse.yaml"
    text = config.read_text(encoding="utf-8")
    start, end = text.index("models:"), text.index("\n# ", text.index("models:"))
    model = 'models:\n  - {name: sleeping, python: "benchmarks.sleeping:sleeping"}\n'
    text = re.sub(r"(?m)^listen: .*$", "listen: 127.0.0.1:0", text[:start] + model + text[end:])
    text = re.sub(r"(?m)^tracing:\n(  .*\n)+", "", text)  # nobody is there to take spans
    config.write_text(text, encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    with subprocess.Popen(
        [COMMAND, "serve", str(config), "--json", "--set", f"server.threads={THREADS}"],
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(folder),
    ) as process:
        try:
            yield Gate(process.pid, folder, f"localhost:{port_in(said(process))}")
        finally:
            process.terminate()


def _environment(folder: Path) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "GUARDHOUSE_BENCH_WITNESS": str(folder / "witness")}


def _command(*arguments: str) -> str:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
