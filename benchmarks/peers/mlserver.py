"""MLServer with a model that gives its tensor back: `python -m benchmarks.peers.mlserver FOLDER`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from . import executable, free_port, serve
from .answering import answers

MODEL = Path(__file__).with_name("mlserver_echo.py")


def main(folder: Path) -> None:
    """Serve until SIGTERM; prints the port. In one process, without its debugging output: at its quickest."""
    own, port = folder / "mlserver", free_port()
    own.mkdir()
    shutil.copy(MODEL, own)
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    (own / "settings.json").write_text(json.dumps(settings))
    (own / "model-settings.json").write_text(
        json.dumps({"name": "echo", "implementation": "mlserver_echo.Echo"})
    )
    serve([executable("mlserver", "mlserver"), "start", own], own, port, lambda: answers(port))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
