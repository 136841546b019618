"""How a server closes without cutting off a call that has reached it.

grpc cancels whatever has arrived and is not yet taken up at the moment it is told to stop (grpc issue 41785),
and under load there always is such a call. So grpc is told last. First every new call is taken up and kept
waiting; callers who wait for an answer send nothing more, and soon nothing arrives. Then grpc tells every
connection to go away, and after that the calls that wait are served.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

QUIET = 0.05  # seconds without a new call after which none is thought to be on its way
LONGEST = 1.0  # seconds to wait for that, under callers who send without waiting for answers
FAREWELL = 0.05  # seconds for the connections to be told


class Door(grpc.GenericRpcHandler):
    """Stands before the handlers of a server; once it closes, new calls wait in it until it is clear."""

    def __init__(self, handlers: grpc.GenericRpcHandler) -> None:
        self._handlers = handlers
        self._clear = asyncio.Event()
        self._waiting = 0
        self.closing = False

    def service(self, handler_call_details: Any) -> Any:
        """What serves the call, at once or later."""
        found = self._handlers.service(handler_call_details)
        if not self.closing or found is None:
            return found
        self._waiting += 1
        return Waiting(found, self._clear)

    async def close(self, server: grpc.aio.Server, grace: float) -> None:
        """Stop *server* without cutting off a call; all of it takes *grace* seconds at most."""
        self.closing = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        before = -1
        while before < self._waiting and loop.time() - began < min(LONGEST, grace / 2):
            before = self._waiting
            await asyncio.sleep(min(QUIET, grace / 2))
        stopping = asyncio.create_task(server.stop(max(0.0, grace - (loop.time() - began))))
        await asyncio.sleep(min(FAREWELL, grace / 4))
        self._clear.set()
        await stopping


class Waiting:
    """A request-streaming handler, as the chain makes them, that begins when it is told to."""

    request_streaming = True
    request_deserializer = None
    response_serializer = None

    def __init__(self, handler: Any, clear: asyncio.Event) -> None:
        self.response_streaming = handler.response_streaming
        self._handler = handler
        self._clear = clear

    async def stream_unary(self, requests: Any, context: Any) -> Any:
        """Wait, and serve."""
        await self._clear.wait()
        return await self._handler.stream_unary(requests, context)

    stream_stream = stream_unary


class Health(HealthServicer):  # type: ignore[misc] # grpc publishes no types of it
    """Health, whose watchers do not keep the server from ending: they watch for as long as they can."""

    def __init__(self) -> None:
        super().__init__()
        self._over = asyncio.Event()

    async def Watch(  # noqa: N802 - the name on the wire
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        """Tell the health, and every change of it, until the server stops."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((watching, over), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            over.cancel()

    async def close(self) -> None:
        """Tell all watchers that nothing is served any more, and let them go."""
        await self.enter_graceful_shutdown()
        await asyncio.sleep(FAREWELL)
        self._over.set()
