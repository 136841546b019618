"""A flood, in a process of its own: calls begun at a steady rate, whatever becomes of those before.

Started by `test_floods` with its orders, in JSON, as the only argument; prints what the calls were told.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
from gate import INFER, OWN, bearer, query

UNDER_WAY = 2000  # calls of ours at once, so that this process stays small


async def flood(target: str, pki: Path, tokens: list[str], rate: int, seconds: float) -> Counter[str]:
    """Begin *rate* calls a second for *seconds*, by each of *tokens* in turn; "" is nobody's."""
    credentials = grpc.ssl_channel_credentials(
        *((pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
    )
    channels = [grpc.aio.secure_channel(target, credentials, [OWN]) for _ in tokens]
    methods = [channel.unary_unary(INFER) for channel in channels]
    body, told, under_way = query("slow", [0.1]).SerializeToString(), Counter[str](), set()

    async def ask(number: int) -> None:
        token = tokens[number % len(tokens)]
        try:
            await methods[number % len(tokens)](body, metadata=bearer(token) if token else (), timeout=20)
        except grpc.aio.AioRpcError as error:
            told[dict(error.trailing_metadata() or ()).get("guardhouse-reason", error.code().name)] += 1
        else:
            told["OK"] += 1

    began = time.monotonic()
    number = 0
    while (now := time.monotonic() - began) < seconds:
        while number < now * rate and len(under_way) < UNDER_WAY:
            task = asyncio.ensure_future(ask(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.sleep(0.005)
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    for channel in channels:
        await channel.close()
    return told


if __name__ == "__main__":
    os.nice(5)  # the server and the polite caller share the machine with it
    orders = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(flood(pki=Path(orders.pop("pki")), **orders))))
