"""The server: starts, serves until it is told to stop, and drains."""

from __future__ import annotations

import asyncio
import contextvars
import signal
from collections.abc import Callable
from typing import cast

import grpc.aio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from guardhouse.interceptors import Guarded
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc, inference_pb2

from .assembly import Parts
from .config import Config
from .handlers import Collected
from .servicer import Inference
from .servicer import handlers as inference_handlers
from .transport import credentials, options
from .whoami import Guardhouse

INFERENCE = "inference.GRPCInferenceService"
GUARDHOUSE = "guardhouse.v1.Guardhouse"


class PortInUse(Exception):  # noqa: N818 - it states what the port is
    """The address cannot be listened on."""


async def serve(config: Config, parts: Parts, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain: what is under way gets `server.drain` seconds to finish.

    Args:
        config: Where to listen, and within which limits.
        parts: What to serve, and the chain before it.
        ready: Called with the address once calls are accepted.

    Raises:
        PortInUse: Nobody can listen there.
    """
    health = HealthServicer()
    server = grpc.aio.server(options=options(config.server))
    server.add_generic_rpc_handlers((Guarded(parts.chain, served(parts, health)),))
    address = _bind(server, config)
    # An empty context: what is set here (a span, say) would be inherited by every call.
    await asyncio.create_task(server.start(), context=contextvars.Context())
    for service in ("", INFERENCE, GUARDHOUSE):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    stop = _stop_signal()
    ready(address)
    await stop.wait()
    await health.enter_graceful_shutdown()
    await server.stop(config.server.drain)


def served(parts: Parts, health: HealthServicer) -> Collected:
    """Every method of the server by its path."""
    found = Collected(inference_handlers(Inference(parts.models)))
    own = Guardhouse(parts.rate)
    guardhouse_pb2_grpc.add_GuardhouseServicer_to_server(own, cast("grpc.aio.Server", found))
    health_pb2_grpc.add_HealthServicer_to_server(health, found)
    names = (INFERENCE, GUARDHOUSE, "grpc.health.v1.Health")
    reflection = ReflectionServicer(names, pool=_descriptions())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, found)
    return found


def _descriptions() -> DescriptorPool:
    """What reflection may tell. Our services live in a pool of their own, the others in protobuf's."""
    pool = DescriptorPool()
    for module in (inference_pb2, guardhouse_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


def _bind(server: grpc.aio.Server, config: Config) -> str:
    host = config.listen.rpartition(":")[0]
    try:
        port = server.add_secure_port(config.listen, credentials(config.tls))
    except RuntimeError:
        port = 0
    if not port:
        message = f"cannot listen on {config.listen}: the port is in use or the address is not this machine's"
        raise PortInUse(message)
    return f"{host}:{port}"


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
