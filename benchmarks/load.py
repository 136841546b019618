"""The load: so many calls in flight until so many are done.

`python -m benchmarks.load FOLDER PORT CALLS FLIGHT`

Prints JSON: seconds, calls, and the latencies' percentiles in milliseconds.
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
import numpy as np
import uvloop

from guardhouse.protos import inference_pb2 as pb

from .echo import INFER

ELEMENTS = 64  # FP32: 256 bytes


def request() -> bytes:
    """A ModelInferRequest of 256 bytes of tensor."""
    made = pb.ModelInferRequest(model_name="echo")
    made.inputs.add(name="x", datatype="FP32", shape=[ELEMENTS])
    made.raw_input_contents.append(np.zeros(ELEMENTS, dtype=np.float32).tobytes())
    return made.SerializeToString()


async def main(folder: Path, port: int, calls: int, flight: int) -> dict[str, float]:
    """Run the load and say what it saw."""
    pki = folder / "pki"
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.pem").read_bytes(), (pki / "client.key").read_bytes(), (pki / "client.pem").read_bytes()
    )
    metadata = (("authorization", f"Bearer {(folder / 'token').read_text().strip()}"),)
    body, left, latencies = request(), calls, []
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        infer: Any = channel.unary_unary(INFER)
        await infer(body, metadata=metadata)

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                start = time.perf_counter()
                await infer(body, metadata=metadata)
                latencies.append(time.perf_counter() - start)

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(flight)))
        seconds = time.perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return {"seconds": seconds, "calls": len(latencies), "p50": p50, "p99": p99}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))))
