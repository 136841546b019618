"""Guard a `grpc.aio` server that is already there: its own service, and one `with` around it.

    python examples/guard_aio.py gate [PORT]

`gate` is a folder that `guardhouse init` made; here it lends its policy, its certificates, and the
public key of its token issuer. The ledger is of this server alone. Callers show a client certificate and a
token.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from guardhouse.interceptors import Issuer, aio, guard

COLLECTOR = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
PRICES = {"apple": 1.5, "pear": 2.25}


async def quote(request: StringValue, context: Any) -> DoubleValue:
    """What one of them costs."""
    if request.value not in PRICES:
        await context.abort(grpc.StatusCode.NOT_FOUND, "we do not sell that")
    return DoubleValue(value=PRICES[request.value])


async def watch(_request: StringValue, _context: Any) -> AsyncIterator[DoubleValue]:
    """Every price, one after another."""
    for price in PRICES.values():
        yield DoubleValue(value=price)


def add_services(server: grpc.aio.Server) -> None:
    """The services as they were before anybody thought of guarding them."""
    read, write = StringValue.FromString, DoubleValue.SerializeToString
    methods = {
        "Quote": grpc.unary_unary_rpc_method_handler(quote, read, write),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, read, write),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Prices", methods),))
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)


async def serve(gate: Path, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is under way, and the records of it."""
    # The guard.
    issuer = Issuer("https://guardhouse.local/dev", audience="guardhouse", jwks=gate / "pki/jwks.json")
    with guard(
        policy=gate / "policy.yaml",
        issuers=[issuer],
        ledger=gate / "shop-ledger",
        spans=COLLECTOR,
    ) as chain:
        server = grpc.aio.server(interceptors=[aio(chain)])
        # That was it.
        port = server.add_secure_port(f"127.0.0.1:{port}", mutual_tls(gate))
        add_services(server)
        await server.start()
        print(f"serving shop.Prices on 127.0.0.1:{port}", flush=True)
        await told_to_stop()
        await server.stop(grace=5)


def mutual_tls(gate: Path) -> grpc.ServerCredentials:
    """grpc's own: no connection without a certificate from our authority."""
    key, certificate, authority = (
        (gate / "pki" / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")
    )
    return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)


async def told_to_stop() -> None:
    """Return at the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8443))
