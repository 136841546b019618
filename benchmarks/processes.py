"""Processes of the benchmark: started, measured from outside by /proc, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second: what /proc counts processor time in


@contextmanager
def program(name: str, *arguments: str | Path, ends: str = "SIGTERM") -> Iterator[subprocess.Popen[str]]:
    """The module *name* of this folder as a process, with pipes to it and from it.

    Args:
        name: The module.
        arguments: What it is told.
        ends: What makes it end: SIGTERM, or the end of its input.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    started = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )
    with started:  # closes the pipes and waits
        try:
            yield started
        finally:
            if ends == "SIGTERM":
                started.terminate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that *process* prints. SystemExit if it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{' '.join(map(str, process.args[2:]))} ended with {process.wait()}")  # type: ignore[index]
    return line


def told(process: subprocess.Popen[str], line: str = "") -> None:
    """Give *process* a line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def port_in(line: str) -> int:
    """The port that a server says it listens on: a number, or the report of `guardhouse serve --json`."""
    found = json.loads(line)
    return int(found if isinstance(found, int) else found["address"].rpartition(":")[2])


def cpu(pid: int) -> float:
    """Seconds of processor time, user and system, of process *pid*, all its threads and all its children.

    Children that have ended are in the account of their parent, once it has waited for them.
    """
    stats = dict(filter(None, map(_stat, Path("/proc").glob("[0-9]*/stat"))))
    return sum(stats[each][1] for each in family(pid, {each: parent for each, (parent, _) in stats.items()}))


def family(pid: int, parents: Mapping[int, int]) -> set[int]:
    """*pid* and all that descend from it. *parents* has every process's parent."""
    found, more = set[int](), {pid}
    while more:
        found |= more
        more = {each for each, parent in parents.items() if parent in more} - found
    return found


def _stat(path: Path) -> tuple[int, tuple[int, float]] | None:
    try:
        return int(path.parent.name), parent_and_cpu(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # it has just ended
        return None


def parent_and_cpu(stat: str) -> tuple[int, float]:
    """A process's parent, and its seconds of processor time, from its /proc/PID/stat (see proc(5)).

    Time of its threads is included, and of the children that it has waited for.
    """
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything; fields[0] is the third
    return int(fields[1]), sum(map(int, fields[11:15])) / TICKS
