"""The server to compare with: grpc.aio and uvloop, mutual TLS, no guard.

`python -m benchmarks.bare FOLDER`
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from .echo import handler
from .until import until_told


async def main(folder: Path) -> None:
    """Serve until SIGTERM; prints the port."""
    pki = folder / "pki"
    pair = ((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (pki / "ca.pem").read_bytes(), True)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    generic = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ModelInfer": handler()}
    )
    server.add_generic_rpc_handlers((generic,))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await until_told(server, port)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
