"""KServe's server with a model that gives its tensor back: `python -m benchmarks.peers.kserve FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from . import executable, free_port, serve
from .answering import answers

MODEL = Path(__file__).with_name("kserve_echo.py")


def main(folder: Path) -> None:
    """Serve until SIGTERM; prints the port. Without its log line of every call: at its quickest."""
    own, port = folder / "kserve", free_port()
    own.mkdir()
    model = str(shutil.copy(MODEL, own))  # where it lies, our own module would stand in for theirs
    ports = ["--grpc_port", str(port), "--http_port", str(free_port())]
    quiet = ["--enable_latency_logging", "false"]
    serve([executable("kserve", "python"), model, *ports, *quiet], own, port, lambda: answers(port))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
