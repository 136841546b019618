"""A server in process, of its own parts, with a model that blocks and one that waits; and a caller for it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np

from guardhouse.interceptors import Concurrency, Guarded, KeyStore, Policy, guard
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc, inference_pb2, inference_pb2_grpc
from guardhouse.server.app import served
from guardhouse.server.assembly import Parts
from guardhouse.server.drain import Health
from guardhouse.server.models import Models, Signature, Source

Code = grpc.StatusCode
PATIENCE = 20.0  # seconds after which a test that hangs fails
MOST = 2  # calls at the same time of each app
POLICY = """
roles:
  r:
    allow: [{methods: ["*"], models: ["*"]}]
    limits: {rate: 1000000/s, concurrency: 2}
  watcher:
    allow: [{methods: ["*"], models: ["*"]}]
    limits: {rate: 1000000/s}
bindings:
  - {role: r, api_key: app-*}
  - {role: watcher, api_key: watcher}
"""
SIGNATURE = Signature.of({"x": ("FP32", [1])}, {"y": ("FP32", [1])})


class Blocking:
    """A model that blocks its thread until it is let out; it says when it has been entered, and counts."""

    signature = SIGNATURE

    def __init__(self) -> None:
        self.entered, self.out = threading.Semaphore(0), threading.Semaphore(0)
        self.asked = 0

    def predict(self, x: Any) -> Any:
        self.asked += 1
        self.entered.release()
        assert self.out.acquire(timeout=PATIENCE)
        if x[0] < 0:
            raise ValueError("private")
        return x


class Waiting:
    """A model that waits on the loop, for ever."""

    signature = SIGNATURE

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)

    async def predict(self, x: Any) -> Any:
        self.entered.release()
        await asyncio.Event().wait()


class Served:
    """The server's methods behind the whole chain, and a caller of each API key."""

    def __init__(self, parts: Parts, channel: grpc.aio.Channel, keys: dict[str, str]) -> None:
        module = sys.modules["slot_models"]
        self.blocking: Blocking = module.blocking
        self.waiting: Waiting = module.waiting
        self.chain, self._keys = parts.chain, keys
        self.slots = next(each for each in parts.chain.guards if isinstance(each, Concurrency))
        self._infer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        self._whoami = guardhouse_pb2_grpc.GuardhouseStub(channel).WhoAmI

    def bearer(self, key: str) -> Any:
        return (("authorization", f"Bearer {self._keys[key]}"),)

    def start(self, model: str = "blocking", key: str = "app-a", value: float = 1.0, **extra: Any) -> Any:
        """Begin a question."""
        request = inference_pb2.ModelInferRequest(model_name=model)
        request.inputs.add(name="x", datatype="FP32", shape=[1])
        request.raw_input_contents.append(np.float32(value).tobytes())
        return self._infer(request, metadata=self.bearer(key), **{"timeout": PATIENCE, **extra})

    async def whoami(self, key: str = "app-a") -> Any:
        request = guardhouse_pb2.WhoAmIRequest()
        return await self._whoami(request, metadata=self.bearer(key), timeout=PATIENCE)

    def taken(self) -> int:
        return sum(self.slots._kept._used.values())

    async def settled(self) -> bool:
        """Whether every call has its record, once all of them have come to an end."""
        return await until(lambda: not self.chain.under_way)

    async def taken_is(self, count: int) -> bool:
        return await until(lambda: self.taken() == count)


async def entered(model: Any, calls: int = 1) -> None:
    """Until so many calls have reached *model*."""
    for _ in range(calls):
        assert await asyncio.to_thread(model.entered.acquire, timeout=PATIENCE)


async def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:  # noqa: ASYNC110 - threads bring it about
        await asyncio.sleep(0.002)
    return holds()


async def end_of(call: Any) -> tuple[Code, str]:
    """Status and reason of a call that was started."""
    try:
        await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        return await call.code(), dict(await call.trailing_metadata() or ()).get("guardhouse-reason", "")
    return Code.OK, ""


@asynccontextmanager
async def serving(folder: Path, *, threads: int = 4, deadline: float = 60.0) -> AsyncIterator[Served]:
    """A server of two models, in as many threads, on a port of the system's choice."""
    store = KeyStore(folder / "keys.db")
    keys = {name: store.create(name, now=time.time()) for name in ("app-a", "app-b", "watcher")}
    sources = [Source(name, "1", python=f"slot_models:{name}") for name in ("blocking", "waiting")]
    models = Models.load(sources, threads=threads)
    policy = Policy.parse(POLICY)
    with guard(
        policy=policy,
        ledger=folder / "ledger",
        api_keys=folder / "keys.db",
        certificates=False,
        deadline=deadline,
        exists=models.exists,
    ) as chain:
        parts = Parts(chain, policy, models)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((Guarded(chain, served(parts, Health())),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            found = Served(parts, channel, keys)
            try:
                yield found
            finally:
                found.blocking.out.release(100)
                await server.stop(None)
    models.close()
