"""What `make run` does: makes the demo's folder, and serves and receives traces until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

GUARDHOUSE = Path(sys.executable).with_name("guardhouse")

NEXT = """
Type these in another terminal, in this folder:

  {guardhouse} infer digits --input {demo}/digit.npy              the answer should be {label}
  {guardhouse} infer digits --input {demo}/digit.npy --no-token   refused: nobody proved anything
  {guardhouse} traces --store {demo}/traces.db                    the traces of both
  {guardhouse} audit verify {demo}/ledger                         their lines, untampered
"""


def main(demo: Path) -> int:
    """Run the demo in *demo*; returns the server's exit status."""
    if not (demo / "guardhouse.yaml").exists():
        run("init", str(demo))
    label = sample(demo / "digit.npy")
    receiver = start("traces", "--follow", "--quiet", "--store", str(demo / "traces.db"))
    server = start("serve", str(demo / "guardhouse.yaml"))
    pass_on_signals(server)
    shown = os.path.relpath(GUARDHOUSE)
    print(NEXT.format(guardhouse=shown, demo=demo, label=label), flush=True)
    try:
        return server.wait()
    finally:
        receiver.terminate()
        receiver.wait()


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


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start one command of ours, out of reach of the terminal's own Ctrl-C: the order of ending matters."""
    return subprocess.Popen([GUARDHOUSE, *arguments], start_new_session=True)


def pass_on_signals(server: subprocess.Popen[bytes]) -> None:
    """Ctrl-C and SIGTERM end the server first, so that the receiver still takes its last spans."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.terminate()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
