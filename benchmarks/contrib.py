"""The bare server as it is traced today: OpenTelemetry's interceptor for gRPC, its SDK and its exporter.

`python -m benchmarks.contrib FOLDER COLLECTOR`
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from . import bare
from .tracing import exporting


def main(folder: Path, collector: str) -> None:
    """Serve until SIGTERM; prints the port."""
    with exporting(collector) as provider:
        uvloop.run(bare.main(folder, False, [aio_server_interceptor(provider)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
