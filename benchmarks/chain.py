"""The bare handler behind the whole chain, without the serving wrapper.

`python -m benchmarks.chain FOLDER`
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import grpc.aio
import uvloop

from guardhouse.interceptors import Guarded
from guardhouse.server.assembly import assembled
from guardhouse.server.config import load
from guardhouse.server.transport import credentials, options

from .echo import INFER, handler
from .until import until_told


async def main(folder: Path) -> None:
    """Serve until SIGTERM; prints the port."""
    config = load(folder / "guardhouse.yaml")
    with tempfile.TemporaryDirectory() as ledger:
        apart = replace(config, audit=replace(config.audit, path=Path(ledger)))
        with assembled(apart) as parts:
            server = grpc.aio.server(options=options(config.server))
            server.add_generic_rpc_handlers((Guarded(parts.chain, {INFER: handler()}),))
            port = server.add_secure_port("127.0.0.1:0", credentials(config.tls))
            await until_told(server, port)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
