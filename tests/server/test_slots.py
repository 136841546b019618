"""A server in process: a slot is free when the model has stopped, not when its caller leaves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from guardhouse.interceptors import Call, Chain, Concurrency, Policy, Principal
from guardhouse.interceptors.call import CURRENT
from guardhouse.protos import guardhouse_pb2
from guardhouse.server.models.base import beside

from .slots import MOST, POLICY, Blocking, Waiting, end_of, entered, serving

Code = grpc.StatusCode
SOON = 1.5  # seconds of a deadline, in which a call reaches its model


@pytest.fixture(autouse=True)
def _models() -> Iterator[None]:
    module: Any = type(sys)("slot_models")
    module.blocking, module.waiting = Blocking(), Waiting()
    sys.modules["slot_models"] = module
    yield
    module.blocking.out.release(100)
    del sys.modules["slot_models"]


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
    """One caller's calls leave another its slots; WhoAmI needs none, and tells what is left, and to whom."""
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
    said = {"scope": "principal", "kind": "concurrency", "limit": 2, "remaining": 2}
    assert limit == guardhouse_pb2.Limit(**said, name="r", unit="calls")
    assert [each.kind for each in unlimited.limits] == ["rate"]
    assert [each.remaining for each in alone.limits if each.kind == "concurrency"] == [2]


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
    Chain().settle(call, None)

    assert slots._kept._used == {}


async def test_work_outside_of_a_call_is_nobody_s() -> None:
    """Without a call, or with one that has no slot, work is done and not counted."""
    with ThreadPoolExecutor(1) as executor:
        assert await beside(executor, lambda: 7) == 7
        call = Call("/s/m", (), True, 0, 0)
        CURRENT.set(call)
        assert await beside(executor, lambda: 8) == 8
    assert call.work is None
