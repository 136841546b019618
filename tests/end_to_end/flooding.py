"""A flood, in a process of its own: calls begun at a steady rate, whatever becomes of those before.

Started by `test_floods` with its orders, in JSON, as the only argument. Says `flooding` once there is one,
goes on until its input ends, and prints what the calls were told.
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

TIMES = [0.05, 0.11, 0.08, 0.15, 0.07, 0.14, 0.1]  # seconds that calls take in the model, in turn
UNDER_WAY = 2000  # calls of ours at once, so that this process stays small


async def flood(target: str, pki: Path, tokens: list[str], rate: int) -> Counter[str]:
    """Begin *rate* calls a second, by each of *tokens* in turn; "" is nobody's."""
    credentials = grpc.ssl_channel_credentials(
        *((pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
    )
    channels = [grpc.aio.secure_channel(target, credentials, [OWN]) for _ in tokens]
    methods = [channel.unary_unary(INFER) for channel in channels]
    bodies = [query("slow", [takes]).SerializeToString() for takes in TIMES]
    told, under_way = Counter[str](), set()

    async def ask(number: int) -> None:
        token = tokens[number % len(tokens)]
        try:
            body, said = bodies[number % len(bodies)], bearer(token) if token else ()
            await methods[number % len(tokens)](body, metadata=said, timeout=20)
        except grpc.aio.AioRpcError as error:
            told[dict(error.trailing_metadata() or ()).get("guardhouse-reason", error.code().name)] += 1
        else:
            told["OK"] += 1

    began, number = time.monotonic(), 0
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        due = int((time.monotonic() - began) * rate)
        while number < due and len(under_way) < UNDER_WAY:
            task = asyncio.ensure_future(ask(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            if number == rate:
                print("flooding", flush=True)
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
