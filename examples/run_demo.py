"""What `make run` does: makes the demo's folder, and serves and receives traces until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

GUARDHOUSE = Path(sys.executable).with_name("guardhouse")
SERVING = "serving on "  # how the server's last line at its start begins

NEXT = """
Type these in another terminal, in this folder:

  {guardhouse} infer digits --input {demo}/digit.npy{profile}              # the answer should be {label}
  {guardhouse} infer digits --input {demo}/digit.npy{profile} --no-token   # refused: nobody proved anything
  {guardhouse} traces --store {demo}/traces.db                    # the traces of both
  {guardhouse} audit verify {demo}/ledger                         # their lines, untampered
"""


def main(demo: Path) -> int:
    """Run the demo in *demo*; returns the server's exit status."""
    if not (demo / "guardhouse.yaml").exists():
        run("init", str(demo))
    label, address = sample(demo / "digit.npy"), collector(demo / "guardhouse.yaml")
    server: list[subprocess.Popen[str]] = []
    told = pass_on_signals(server)
    receiver = start("traces", "--follow", "--quiet", "--listen", address, "--store", str(demo / "traces.db"))
    try:
        server.append(start("serve", str(demo / "guardhouse.yaml"), stdout=subprocess.PIPE))
        if told:  # in between
            server[0].terminate()
        relay(server[0].stdout or (), next_steps(demo, label))
        return server[0].wait()
    finally:
        for process in (*server, receiver):
            process.terminate()
            process.communicate()


def relay(lines: Iterable[str], todo: str) -> None:
    """Print what the server prints, and *todo* below the line that ends its report at the start."""
    for line in lines:
        print(line, end="", flush=True)
        if line.startswith(SERVING):
            print(todo, flush=True)


def next_steps(demo: Path, label: str) -> str:
    """What to type next. The client finds the folder by itself where it has the usual name."""
    profile = "" if demo == Path(".demo") else f" --profile {demo}"
    return NEXT.format(guardhouse=os.path.relpath(GUARDHOUSE), demo=demo, label=label, profile=profile)


def collector(config: Path) -> str:
    """Where the configuration wants the spans; what is wrong with it ends the demo."""
    from guardhouse.server.config import ConfigError, load

    try:
        tracing = load(config).tracing
    except ConfigError as error:
        sys.exit(f"guardhouse: {error}")
    return tracing.endpoint.partition("://")[2] if tracing else "127.0.0.1:0"


def sample(path: Path) -> str:
    """Write a digit that the model has not been trained on to *path*; returns what it shows."""
    import numpy as np

    from guardhouse_examples import digits

    np.save(path, digits.sample(0))
    return str(digits.answer(0))


def run(*arguments: str) -> None:
    """Run one command of ours to its end; its failure is ours."""
    done = subprocess.run([GUARDHOUSE, *arguments], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def start(*arguments: str, stdout: int | None = None) -> subprocess.Popen[str]:
    """Start one command of ours, out of reach of the terminal's own Ctrl-C: the order of ending matters."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
    }  # what a model prints is seen at once, also by relay
    return subprocess.Popen(
        [GUARDHOUSE, *arguments], stdout=stdout, env=environment, text=True, start_new_session=True
    )


def pass_on_signals(server: list[subprocess.Popen[str]]) -> list[int]:
    """Ctrl-C and its like end the server first, so that the receiver still takes its last spans.

    Returns the signals that have come, for a server that was not there yet.
    """
    told: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        for process in server:
            process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    return told


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
