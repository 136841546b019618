"""The server to compare with: grpc.aio and uvloop, no guard; mutual TLS, or plain text.

`python -m benchmarks.bare FOLDER COLLECTOR [plain] [batched]`
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from guardhouse.server.scheduling import run_in_batches

from .echo import INFER, handler
from .until import until_told


async def main(folder: Path, plain: bool, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
    """Serve until SIGTERM; prints the port."""
    server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
    service, name = INFER.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler()}),))
    anywhere = "127.0.0.1:0"
    port = (
        server.add_insecure_port(anywhere)
        if plain
        else server.add_secure_port(anywhere, _credentials(folder / "pki"))
    )
    await until_told(server, port)


def _credentials(pki: Path) -> grpc.ServerCredentials:
    pair = ((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())
    return grpc.ssl_server_credentials([pair], (pki / "ca.pem").read_bytes(), require_client_auth=True)


if __name__ == "__main__":
    if "batched" in sys.argv[3:]:
        run_in_batches()
    uvloop.run(main(Path(sys.argv[1]), "plain" in sys.argv[3:]))
