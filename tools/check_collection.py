"""Collect the tests in two processes, two seconds and two hash seeds apart: both must find the same.

pytest-xdist refuses to run anything when its workers collect different tests: a parameter taken from a
set, from the clock or from chance fails on somebody else's machine only.
"""

import difflib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APART = 2.0  # seconds: more than the second to which gzip and file systems stamp


def main() -> None:
    """Exit 0 if both collect the same tests; otherwise show those that differ."""
    first = collecting("1")
    time.sleep(APART)
    second = collecting("2")
    one, other = names(first), names(second)
    if one != other:
        differing = difflib.unified_diff(one, other, "one process", "another", n=0, lineterm="")
        sys.exit("\n".join(["check_collection: tests that depend on when they are collected:", *differing]))
    print(f"the tests are the same in every process: {len(one)}")


def collecting(seed: str) -> "subprocess.Popen[str]":
    """A process that prints the names of all tests."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def names(process: "subprocess.Popen[str]") -> list[str]:
    """What *process* collected, in its order; a collection that fails is shown as it is."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(output)
    return [line for line in output.splitlines() if "::" in line]


if __name__ == "__main__":
    main()
