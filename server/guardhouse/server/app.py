"""The server: starts, serves until it is told to stop, and drains."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import cast

import grpc.aio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from guardhouse.interceptors import Guarded
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc, inference_pb2

from .assembly import Parts
from .config import Config
from .drain import Door, Health
from .handlers import Collected, bounded
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
    health = Health()
    server = grpc.aio.server(options=options(config.server))
    door = Door(Guarded(parts.chain, bounded(served(parts, health), config.server.max_message)))
    server.add_generic_rpc_handlers((door,))
    address = _bind(server, config)
    # An empty context: what is set here (a span, say) would be inherited by every call.
    await asyncio.create_task(server.start(), context=contextvars.Context())
    for service in ("", INFERENCE, GUARDHOUSE):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    stop = _stop_signal()
    ready(address)
    await stop.wait()
    await health.close()
    await door.close(server, config.server.drain)


def served(parts: Parts, health: Health) -> Collected:
    """Every method of the server by its path."""
    found = Collected(inference_handlers(Inference(parts.models)))
    own = Guardhouse(parts.chain.guards)
    guardhouse_pb2_grpc.add_GuardhouseServicer_to_server(own, cast("grpc.aio.Server", found))
    health_pb2_grpc.add_HealthServicer_to_server(health, found)
    names = (INFERENCE, GUARDHOUSE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
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
    host, tls = config.listen.rpartition(":")[0], credentials(config.tls)
    try:
        _try(config.listen)
        port = server.add_secure_port(config.listen, tls)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", "") or "somebody was faster"
        message = f"cannot listen on {config.listen}: {why.lower()}; write another address under listen"
        raise PortInUse(message) from error
    return f"{host}:{port}"


def _try(listen: str) -> None:
    """Listen for a moment, as grpc is about to: it would tell nobody but its own log why it cannot."""
    host, _, port = listen.rpartition(":")
    family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT.

    The handlers outlive the loop: a second signal must not cut short what is still to be written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(_number: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop
