"""The load: so many calls in flight until so many are done. A process of its own.

`python -m benchmarks.load FOLDER PORT WARM FLIGHT plain|tls`

Makes 1 + WARM calls and prints "warm". Then, for every line with a number, makes so many calls and prints
"done"; at an empty line prints JSON, of all calls since it was warm: how many, the seconds they took, and the
percentiles of their latency in milliseconds. A call that fails ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from guardhouse.protos import inference_pb2 as pb

from .arithmetic import percentile
from .echo import INFER

ELEMENTS = 64  # FP32: 256 bytes


def request() -> bytes:
    """A ModelInferRequest of 256 bytes of tensor."""
    made = pb.ModelInferRequest(model_name="echo")
    made.inputs.add(name="x", datatype="FP32", shape=[ELEMENTS])
    made.raw_input_contents.append(bytes(4 * ELEMENTS))
    return made.SerializeToString()


def check(answer: bytes) -> None:
    """ValueError if *answer* is not a ModelInferResponse with as many values as were sent."""
    found = pb.ModelInferResponse.FromString(answer)
    raw = sum(map(len, found.raw_output_contents)) // 4
    if ELEMENTS not in (raw, *(len(each.contents.fp32_contents) for each in found.outputs)):
        raise ValueError("the server did not give the tensor back")


async def main(folder: Path, port: int, warm: int, flight: int, plain: bool) -> None:
    """Warm up, and run the load whenever told."""
    seconds, latencies = 0.0, list[float]()
    async with _channel(folder, port, plain) as channel:
        infer: Any = channel.unary_unary(INFER)
        metadata = () if plain else (("authorization", f"Bearer {(folder / 'token').read_text().strip()}"),)
        check(await infer(request(), metadata=metadata))
        await _run(infer, metadata, warm, flight)
        print("warm", flush=True)
        while calls := (await asyncio.to_thread(sys.stdin.readline)).strip():
            start = time.perf_counter()
            latencies += await _run(infer, metadata, int(calls), flight)
            seconds += time.perf_counter() - start
            print("done", flush=True)
    p50, p99 = (percentile(latencies, percent) * 1000 for percent in (50, 99))
    print(json.dumps({"seconds": seconds, "calls": len(latencies), "p50": p50, "p99": p99}))


def _channel(folder: Path, port: int, plain: bool) -> grpc.aio.Channel:
    if plain:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    files = (folder / "pki" / name for name in ("ca.pem", "client.key", "client.pem"))
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def _run(infer: Any, metadata: Any, calls: int, flight: int) -> list[float]:
    """Make *calls* calls, *flight* at a time; how long each took, in seconds."""
    body, left, latencies = request(), calls, list[float]()

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            start = time.perf_counter()
            await infer(body, metadata=metadata)
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(worker() for _ in range(flight)))
    return latencies


if __name__ == "__main__":
    _port, _warm, _flight = map(int, sys.argv[2:5])
    uvloop.run(main(Path(sys.argv[1]), _port, _warm, _flight, sys.argv[5] == "plain"))
