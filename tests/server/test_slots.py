"""A server in process: a slot is free when the model has stopped, not when its caller leaves."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from guardhouse.interceptors import Call, Concurrency, Guarded, KeyStore, Policy, Principal, RateLimit, guard
from guardhouse.interceptors.call import CURRENT
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc, inference_pb2, inference_pb2_grpc
from guardhouse.server.app import served
from guardhouse.server.assembly import Parts
from guardhouse.server.drain import Health
from guardhouse.server.models import Models, Signature, Source
from guardhouse.server.models.base import beside

Code = grpc.StatusCode
PATIENCE = 20.0  # seconds after which a test that hangs fails
SOON = 1.5  # seconds of a deadline that a call reaches its model within
MOST = 2
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
        self.chain, self.slots, self._keys = parts.chain, parts.concurrency, keys
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
        return sum(self.slots._taken.values())

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


@pytest.fixture(autouse=True)
def _models() -> Iterator[None]:
    module: Any = type(sys)("slot_models")
    module.blocking, module.waiting = Blocking(), Waiting()
    sys.modules["slot_models"] = module
    yield
    module.blocking.out.release(100)
    del sys.modules["slot_models"]


@asynccontextmanager
async def serving(folder: Path, *, threads: int = 4, deadline: float = 60.0) -> AsyncIterator[Served]:
    """A server of two models, in as many threads, on a port of the system's choice."""
    store = KeyStore(folder / "keys.db")
    keys = {name: store.create(name, now=time.time()) for name in ("app-a", "app-b", "watcher")}
    sources = [Source(name, "1", python=f"slot_models:{name}") for name in ("blocking", "waiting")]
    models = Models.load(sources, threads=threads)
    policy, rate, concurrency = Policy.parse(POLICY), RateLimit(), Concurrency()
    with guard(
        policy=policy,
        ledger=folder / "ledger",
        api_keys=folder / "keys.db",
        certificates=False,
        deadline=deadline,
        rate=rate,
        concurrency=concurrency,
        exists=models.exists,
    ) as chain:
        parts = Parts(chain, policy, models, rate, concurrency)
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


@pytest.mark.parametrize("how", ["cancelled", "its own deadline", "the server's deadline"])
async def test_a_blocking_model_keeps_the_slot_of_a_caller_who_left(tmp_path: Path, how: str) -> None:
    """Its caller hears the end at once; its slots are free when the threads return, and not before."""
    extra = {"timeout": SOON} if how == "its own deadline" else {}
    async with serving(tmp_path, deadline=SOON if how == "the server's deadline" else 60.0) as server:
        calls = [server.start(**extra) for _ in range(MOST)]
        await entered(server.blocking, MOST)
        if how == "cancelled":
            for call in calls:
                call.cancel()
        codes = {(await end_of(call))[0] for call in calls}
        assert await server.settled()
        refused = [await end_of(server.start()) for _ in range(5)]
        taken, asked = server.taken(), server.blocking.asked
        server.blocking.out.release()
        assert await server.taken_is(1)
        server.blocking.out.release(MOST)
        assert await server.taken_is(0)
        after = await end_of(server.start())

    assert codes == {Code.CANCELLED if how == "cancelled" else Code.DEADLINE_EXCEEDED}
    assert refused == [(Code.RESOURCE_EXHAUSTED, "CONCURRENCY_LIMITED")] * 5
    assert (taken, asked, after) == (MOST, MOST, (Code.OK, ""))


async def test_what_has_not_begun_never_does_and_frees_its_slot(tmp_path: Path) -> None:
    """Who leaves while waiting for the only thread frees the slot at once; the model never sees that call."""
    async with serving(tmp_path, threads=1) as server:
        first = server.start()
        await entered(server.blocking)
        second = server.start()
        assert await server.taken_is(MOST)
        second.cancel()
        await end_of(second)
        assert await server.taken_is(1)
        third = server.start()
        assert await server.taken_is(MOST)
        server.blocking.out.release(2)
        ends = [await end_of(first), await end_of(third)]
        assert await server.taken_is(0)

    assert (ends, server.blocking.asked) == ([(Code.OK, "")] * 2, 2)


async def test_an_async_model_ends_with_its_call(tmp_path: Path) -> None:
    """What runs on the loop stops when its caller leaves, and the slot is free with it."""
    async with serving(tmp_path) as server:
        for _ in range(MOST + 1):
            call = server.start("waiting")
            await entered(server.waiting)
            call.cancel()
            await end_of(call)
            assert await server.taken_is(0)


async def test_a_blocking_model_that_fails_frees_its_slot(tmp_path: Path) -> None:
    """An exception frees the slot, also where nobody hears of it any more."""
    async with serving(tmp_path) as server:
        server.blocking.out.release(3)
        heard = [await end_of(server.start(value=-1.0)) for _ in range(MOST + 1)]
        for _ in heard:
            server.blocking.entered.acquire()
        left = server.start(value=-1.0)
        await entered(server.blocking)
        left.cancel()
        await end_of(left)
        assert await server.settled()
        taken = server.taken()
        server.blocking.out.release()
        assert await server.taken_is(0)

    assert heard == [(Code.INTERNAL, "MODEL_FAILED")] * 3
    assert taken == 1


async def test_callers_do_not_share_slots_and_whoami_tells_what_is_left(tmp_path: Path) -> None:
    """One caller's calls leave another its slots; WhoAmI, itself a call, tells what is left, and to whom."""
    async with serving(tmp_path) as server:
        calls = [server.start(key="app-a") for _ in range(MOST)]
        await entered(server.blocking, MOST)
        refused = await end_of(server.start(key="app-a"))
        answer = await server.whoami("app-b")
        unlimited = await server.whoami("watcher")
        server.blocking.out.release(MOST)
        for call in calls:
            await call
        alone = await server.whoami("app-a")

    limit = {each.kind: each for each in answer.limits}["concurrency"]
    assert refused == (Code.RESOURCE_EXHAUSTED, "CONCURRENCY_LIMITED")
    assert limit == guardhouse_pb2.Limit(scope="principal", kind="concurrency", limit=2, remaining=1)
    assert [each.kind for each in unlimited.limits] == ["rate"]
    assert [each.remaining for each in alone.limits if each.kind == "concurrency"] == [1]


def limited() -> tuple[Concurrency, Call]:
    """A call that has a slot, and who gave it."""
    slots = Concurrency()
    policy = Policy.parse(POLICY)
    who = Principal("app-a", api_key="app-a")
    call = Call("/s/m", (), True, 0, 0, principal=who, grant=policy.grant(who))
    slots.inspect(call, None)
    return slots, call


async def test_an_executor_that_takes_nothing_keeps_no_slot() -> None:
    """Where work cannot even be handed over, the slot goes with the call."""
    slots, call = limited()
    CURRENT.set(call)
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with pytest.raises(RuntimeError):
        await beside(closed, lambda: None)
    slots.settle(call)

    assert slots._taken == {}


async def test_work_outside_of_a_call_is_nobody_s() -> None:
    """Without a call, or with one that has no slot, work is done and not counted."""
    with ThreadPoolExecutor(1) as executor:
        assert await beside(executor, lambda: 7) == 7
        call = Call("/s/m", (), True, 0, 0)
        CURRENT.set(call)
        assert await beside(executor, lambda: 8) == 8
    assert call.slot is None
