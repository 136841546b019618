"""`make bench`: the bare server and the guarded ones, interleaved; ratios on the terminal and in results/.

The servers that are compared:
    bare     grpc.aio and uvloop, mutual TLS, a handler that gives a tensor back
    chain    the same handler behind the whole chain: ledger, spans, token, policy, rate, validation
    guarded  `guardhouse serve`: the chain, and the serving wrapper with a model that gives the tensor back
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import grpc

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
COMMAND = Path(sys.executable).with_name("guardhouse")
TICKS = os.sysconf("SC_CLK_TCK")
POLICY = """
roles:
  analyst:
    allow: [{methods: [ModelInfer], models: [echo]}]
    limits: {rate: 1000000/s, burst: 1000000}
bindings:
  - {role: analyst, claim: {roles: analyst}}
"""


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server (default 5)")
    parser.add_argument("--calls", type=int, default=8000, help="calls in one measurement (default 8000)")
    parser.add_argument("--flight", type=int, default=16, help="calls in flight (default 16)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = start(Path(folder), stack)
        rounds = [
            {name: measure(Path(folder), *server, arguments.calls, arguments.flight) for name, server in each}
            for each in progress([list(servers.items())] * arguments.rounds)
        ]
    summary = summarize(rounds)
    write(arguments, rounds, summary)
    show(summary)


def start(folder: Path, stack: ExitStack) -> dict[str, tuple[int, int]]:
    """Start every server; returns (process id, port) by name."""
    subprocess.run([COMMAND, "init", folder, "--force"], check=True, stdout=subprocess.DEVNULL)
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    sink = int(stack.enter_context(process("benchmarks.sink"))[1])
    config = (folder / "guardhouse.yaml").read_text(encoding="utf-8")
    begin = config.index("models:")
    end = config.index("\n# ", begin)
    model = 'models:\n  - {name: echo, python: "benchmarks.echo:echo"}\n'
    config = (config[:begin] + model + config[end:]).replace(":4317", f":{sink}").replace(":8443", ":0")
    (folder / "guardhouse.yaml").write_text(config, encoding="utf-8")
    bare = stack.enter_context(process("benchmarks.bare", folder))
    chain = stack.enter_context(process("benchmarks.chain", folder))
    guarded = stack.enter_context(process(COMMAND, "serve", folder / "guardhouse.yaml", "--json"))
    port = int(json.loads(guarded[1])["address"].rpartition(":")[2])
    return {
        "bare": (bare[0], int(bare[1])),
        "chain": (chain[0], int(chain[1])),
        "guarded": (guarded[0], port),
    }


@contextmanager
def process(program: str | Path, *arguments: str | Path) -> Iterator[tuple[int, str]]:
    """A server's process id and its first line, for as long as the context lasts."""
    command: list[str | Path] = [program] if isinstance(program, Path) else [sys.executable, "-m", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    assert started.stdout is not None
    try:
        line = started.stdout.readline()
        if not line:
            sys.exit(f"{program} did not start")
        yield started.pid, line
    finally:
        started.terminate()
        started.wait()
        started.stdout.close()


def measure(folder: Path, pid: int, port: int, calls: int, flight: int) -> dict[str, float]:
    """One load on one server: what the load saw, and the CPU the server spent, from the operating system."""
    before = cpu(pid)
    command = [sys.executable, "-m", "benchmarks.load", str(folder), str(port), str(calls), str(flight)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    spent = cpu(pid) - before
    seen = json.loads(done.stdout)
    return {
        "cpu_us": spent / calls * 1e6,
        "per_second": seen["calls"] / seen["seconds"],
        "p50_ms": seen["p50"],
        "p99_ms": seen["p99"],
    }


def cpu(pid: int) -> float:
    """Seconds of processor time, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def progress(rounds: list[list[tuple[str, tuple[int, int]]]]) -> Iterator[list[tuple[str, tuple[int, int]]]]:
    """The rounds, each announced; every other one backwards, so that no server always goes first."""
    for number, each in enumerate(rounds, 1):
        print(f"round {number} of {len(rounds)}", file=sys.stderr, flush=True)
        yield each if number % 2 else each[::-1]


def summarize(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """For each server the medians, and the ratios to bare in the same round."""
    return {name: _one(name, rounds) for name in ("bare", "chain", "guarded")}


def _one(name: str, rounds: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    figures = {key: median(each[name][key] for each in rounds) for key in rounds[0][name]}
    ratios = {
        "cpu_ratio": median(each["bare"]["cpu_us"] / each[name]["cpu_us"] for each in rounds),
        "throughput_ratio": median(each[name]["per_second"] / each["bare"]["per_second"] for each in rounds),
        "p50_ratio": median(each[name]["p50_ms"] / each["bare"]["p50_ms"] for each in rounds),
        "p99_ratio": median(each[name]["p99_ms"] / each["bare"]["p99_ms"] for each in rounds),
    }
    return {key: round(value, 3) for key, value in {**figures, **ratios}.items()}


def write(arguments: argparse.Namespace, rounds: object, summary: object) -> None:
    """Keep everything that was measured, and on what."""
    RESULTS.mkdir(exist_ok=True)
    facts = {
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "cores": os.cpu_count(),
        **vars(arguments),
        "summary": summary,
        "rounds": rounds,
    }
    (RESULTS / "latest.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


COLUMNS = {  # of the table: heading, key, digits behind the point
    "CPU us": ("cpu_us", 0),
    "calls/s": ("per_second", 0),
    "p50 ms": ("p50_ms", 2),
    "p99 ms": ("p99_ms", 2),
    "CPU": ("cpu_ratio", 2),
    "calls": ("throughput_ratio", 2),
    "p50": ("p50_ratio", 2),
    "p99": ("p99_ratio", 2),
}


def show(summary: dict[str, dict[str, float]]) -> None:
    """The table for a person. The last four columns are ratios to bare: of CPU, bare's over the server's."""
    print(" " * 8 + "".join(f"{heading:>9}" for heading in COLUMNS))
    for name, row in summary.items():
        print(f"{name:8}" + "".join(f"{row[key]:9.{digits}f}" for key, digits in COLUMNS.values()))
    print("the last four are ratios to bare, round by round; benchmarks/results/latest.json has it all")


if __name__ == "__main__":
    main()
