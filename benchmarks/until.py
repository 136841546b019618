"""The end that the servers of a benchmark have in common."""

from __future__ import annotations

import asyncio
import signal

import grpc.aio


async def until_told(server: grpc.aio.Server, port: int) -> None:
    """Start *server*, print its *port*, and serve until SIGTERM."""
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)
