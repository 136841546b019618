"""A flood, in a process of its own: calls begun at a steady rate, whatever becomes of those before.

Started by `benchmarks.flood` with its orders, in JSON, as the only argument. Says `flooding` once a
second's calls have begun, goes on until its input ends; prints how many it began, and what they were told.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np

from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.protos import inference_pb2

OWN: Final = ("grpc.use_local_subchannel_pool", 1)  # a connection shared with no other channel
TIMES: Final = (0.05, 0.11, 0.08, 0.15, 0.07, 0.14, 0.1)  # seconds that calls take in the model, in turn
UNDER_WAY: Final = 2000  # calls of ours at once, so that this process stays small


def bodies() -> list[bytes]:
    """Requests for each of `TIMES`."""
    return [_body(seconds) for seconds in TIMES]


def _body(seconds: float) -> bytes:
    request = inference_pb2.ModelInferRequest(model_name="sleeping")
    request.inputs.add(name="seconds", datatype="FP32", shape=[1])
    request.raw_input_contents.append(np.array([seconds], np.float32).tobytes())
    return bytes(request.SerializeToString())


def credentials(pki: Path) -> grpc.ChannelCredentials:
    """Those of the client in the folder *pki*."""
    return grpc.ssl_channel_credentials(
        *((pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
    )


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata with *token*; "" is nobody's."""
    return (("authorization", f"Bearer {token}"),) if token else ()


async def flood(target: str, pki: Path, tokens: list[str], rate: int) -> Counter[str]:
    """Begin *rate* calls a second, by each of *tokens* in turn, until the input ends."""
    channels = [grpc.aio.secure_channel(target, credentials(pki), [OWN]) for _ in tokens]
    methods: list[Any] = [channel.unary_unary(MODEL_INFER) for channel in channels]
    asked, told, under_way = bodies(), Counter[str](), set[asyncio.Task[None]]()
    began = time.monotonic()
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        due = int((time.monotonic() - began) * rate)
        while told["begun"] < due and len(under_way) < UNDER_WAY:
            number = told["begun"]
            one = _ask(
                methods[number % len(tokens)], asked[number % len(asked)], tokens[number % len(tokens)], told
            )
            task = asyncio.ensure_future(one)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            told["begun"] += 1
            if told["begun"] == rate:
                print("flooding", flush=True)
        await asyncio.sleep(0.005)
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    for channel in channels:
        await channel.close()
    return told


async def _ask(method: Any, body: bytes, token: str, told: Counter[str]) -> None:
    try:
        await method(body, metadata=bearer(token), timeout=20)
    except grpc.aio.AioRpcError as error:
        told[dict(error.trailing_metadata() or ()).get("guardhouse-reason", error.code().name)] += 1
    else:
        told["OK"] += 1


if __name__ == "__main__":
    os.nice(5)  # the server and the polite caller share the machine with it
    orders = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(flood(pki=Path(orders.pop("pki")), **orders))))
