"""Calls that wait for the model, on real servers of both colours."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Principal, Stage
from guardhouse.interceptors.limits.admission import Admission
from guardhouse.interceptors.limits.places import Capacity
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.rules import Role
from tests.interceptors.serving import COLOURS, PATIENCE, Outcome, Serving, Watch, finish, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
PRIORITIES = {"low": 0, "normal": 1, "high": 2}


class Named(Guard):
    """Callers are who they say, with the priority they say."""

    stage = Stage.IDENTITY

    def admit(self, call: Call) -> None:
        said = dict(call.metadata)
        call.principal = Principal(str(said.get("who", "")))
        call.grant = Grant([Role("r", priority=PRIORITIES[str(said.get("priority", "normal"))])])


class Held:
    """A model that answers once it is let, and says who is in it."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.entered: list[bytes] = []

    async def __call__(self, messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            self.entered.append(message)
            await self._wait()
            yield message

    async def _wait(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            assert self.let.acquire(timeout=PATIENCE)
        else:
            assert await asyncio.to_thread(self.let.acquire, timeout=PATIENCE)

    async def holds(self, most: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.entered) < most:  # noqa: ASYNC110 - threads enter, too
                await asyncio.sleep(0.002)


def _start(served: Serving, message: bytes, who: str = "a", **extra: Any) -> asyncio.Future[Outcome]:
    metadata = (("who", who), ("priority", extra.pop("priority", "normal")))
    return asyncio.ensure_future(finish(served.start("unary_unary", message, metadata, **extra)))


async def _waiting(admission: Admission, most: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while admission.waiting != most:  # noqa: ASYNC110 - threads wait, too
            await asyncio.sleep(0.002)


async def test_calls_wait_and_are_served_by_priority_and_fairly(colour: str) -> None:
    """One place: the others wait without being refused, and go by turns; the time is queue, not model."""
    admission, model, watch = Admission(Capacity(others=1)), Held(), Watch()
    async with serving(colour, Chain(watch, Named(), admission), model) as served:
        calls = [_start(served, b"first")]
        await model.holds(1)
        wanted = [
            (b"a1", "a", "normal"),
            (b"a2", "a", "normal"),
            (b"b1", "b", "normal"),
            (b"c1", "c", "high"),
        ]
        for number, (message, who, priority) in enumerate(wanted):
            calls.append(_start(served, message, who, priority=priority))
            await _waiting(admission, number + 1)
        for entered in range(2, 7):
            model.let.release()
            if entered < 6:
                await model.holds(entered)
        outcomes = await asyncio.gather(*calls)
        await watch.wait(5)

    assert {outcome.code for outcome in outcomes} == {Code.OK}
    assert model.entered[:2] == [b"first", b"c1"]
    assert set(model.entered[2:4]) == {b"a1", b"b1"}
    assert all(call.queue_ns > 0 for call in watch.calls[1:])
    assert all(call.model_ns + call.queue_ns <= call.ended_ns - call.opened_ns for call in watch.calls)


async def test_a_call_cut_off_in_the_model_had_all_its_time_there(colour: str) -> None:
    """However long it had waited for its turn before: that makes the time in the model no shorter."""
    admission, model, watch = Admission(Capacity(others=1)), Held(), Watch()
    chain = Chain(watch, Named(), admission)
    async with serving(colour, chain, model) as served:
        first = _start(served, b"first")
        await model.holds(1)
        second = _start(served, b"second")
        await _waiting(admission, 1)
        await asyncio.sleep(0.1)
        model.let.release()
        await model.holds(2)
        entered = time.monotonic_ns()
        await asyncio.sleep(0.02)
        least = time.monotonic_ns() - entered
        chain.end()
        model.let.release()
        await asyncio.gather(first, second)
    cut_off = watch.calls[1]

    assert (cut_off.status, cut_off.queue_ns > 0) == (Code.CANCELLED, True)
    assert cut_off.model_ns >= least


async def test_who_has_no_room_is_refused_with_the_time_to_come_back(colour: str) -> None:
    """The queue is full: what the newest call of the greediest caller hears. The polite one gets its room."""
    admission, model, watch = Admission(Capacity(others=1, waiting=2)), Held(), Watch()
    async with serving(colour, Chain(watch, Named(), admission), model) as served:
        calls = [_start(served, b"0", "flood")]
        await model.holds(1)
        for number in (1, 2):
            calls.append(_start(served, b"%d" % number, "flood"))
            await _waiting(admission, number)
        over = await _start(served, b"3", "flood")
        polite = _start(served, b"p", "polite")
        shed = await calls.pop()
        for _ in range(3):
            model.let.release()
        outcomes = await asyncio.gather(*calls, polite)
        await watch.wait(5)

    for outcome in (over, shed):
        assert outcome.code == Code.RESOURCE_EXHAUSTED
        assert outcome.trailer("guardhouse-reason") == "OVERLOADED"
        assert int(outcome.trailer("grpc-retry-pushback-ms")) >= 100
    assert {outcome.code for outcome in outcomes} == {Code.OK}
    assert b"2" not in model.entered
    assert b"3" not in model.entered
    refused = [call for call in watch.calls if call.refusal is not None]
    assert sorted(call.requests for call in refused) == [0, 1], "the one over was refused before it was read"


async def test_who_leaves_or_is_late_while_waiting_never_runs(colour: str) -> None:
    """And makes room for those behind."""
    admission, model, watch = Admission(Capacity(others=1, wait=0.3)), Held(), Watch()
    async with serving(colour, Chain(watch, Named(), admission), model) as served:
        first = _start(served, b"first")
        await model.holds(1)
        leaving = served.start("unary_unary", b"leaving", (("who", "b"),))
        await _waiting(admission, 1)
        leaving.cancel()
        await _waiting(admission, 0)
        late = await _start(served, b"late", timeout=0.2)
        await _waiting(admission, 0)
        long = await _start(served, b"long")
        await _waiting(admission, 0)
        model.let.release()
        model.let.release()
        outcomes = [await first, await _start(served, b"next")]
        await watch.wait(5)

    assert (late.code, long.code) == (Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)
    assert long.trailer("guardhouse-reason") == "OVERLOADED"
    assert [outcome.code for outcome in outcomes] == [Code.OK, Code.OK]
    assert model.entered == [b"first", b"next"]
    gone = [call for call in watch.calls if call.refusal is not None]
    assert [call.queue_ns > 0 for call in gone] == [True] * 3, "what they waited is on the record, too"


async def test_calls_under_way_are_bounded_and_shared(colour: str) -> None:
    """From half on nobody may have more than an equal share; what asks nothing of a model is let in."""
    admission, model = Admission(Capacity(others=9, calls=4), free={"/test.Echo/stream_stream"}), Held()
    async with serving(colour, Chain(Watch(), Named(), admission), model) as served:
        calls = [_start(served, b"%d" % number, "flood") for number in range(2)]
        await model.holds(2)
        over = await _start(served, b"over", "flood")
        calls.append(_start(served, b"p", "polite"))
        await model.holds(3)
        free = asyncio.ensure_future(served.ask("stream_stream", b"health", metadata=(("who", "flood"),)))
        await model.holds(4)
        for _ in range(4):
            model.let.release()
        outcomes = await asyncio.gather(*calls, free)

    assert over.code == Code.RESOURCE_EXHAUSTED
    assert {outcome.code for outcome in outcomes} == {Code.OK}


async def test_a_slow_reader_holds_no_place(colour: str) -> None:
    """A caller that takes none of its stream's messages blocks its own stream, and nobody else's call."""
    admission, entered = Admission(Capacity(others=1)), threading.Event()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            entered.set()
            for _ in range(400 if message == b"many" else 1):
                yield bytes(50_000)

    async with serving(colour, Chain(Watch(), Named(), admission), model) as served:
        slow = served.start("unary_stream", b"many", (("who", "slow"),))
        assert await asyncio.to_thread(entered.wait, PATIENCE)
        others = [await served.ask("unary_unary", b"x", metadata=(("who", "b"),)) for _ in range(5)]
        got = [len(message) async for message in slow]

    assert {outcome.code for outcome in others} == {Code.OK}
    assert got == [50_000] * 400


async def test_a_caller_that_sends_nothing_more_holds_no_place(colour: str) -> None:
    """The service waits for its next message, and others have the model meanwhile."""
    admission = Admission(Capacity(others=1))
    async with serving(colour, Chain(Watch(), Named(), admission)) as served:
        slow = served.start("stream_stream", None, (("who", "slow"),))
        await slow.write(b"1")
        first = await slow.read()
        others = [await served.ask("unary_unary", b"x", metadata=(("who", "b"),)) for _ in range(3)]
        await slow.write(b"2")
        second = await slow.read()
        await slow.done_writing()
        code = await slow.code()

    assert (first, second, code) == (b"1", b"2", Code.OK)
    assert {outcome.code for outcome in others} == {Code.OK}


async def test_a_stream_that_waits_to_go_on_is_not_in_the_model(colour: str) -> None:
    """Inside its handler, for a place that another has: the time is queue, and not model as well."""
    admission, watch, let = Admission(Capacity(others=1)), Watch(), Held()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            if message == b"hold":
                let.entered.append(message)
                await let._wait()
            yield message

    async with serving(colour, Chain(watch, Named(), admission), model) as served:
        stream = served.start("stream_stream", None, (("who", "stream"),))
        await stream.write(b"1")
        assert await stream.read() == b"1"
        other = _start(served, b"hold", "other")
        await let.holds(1)
        await stream.write(b"2")
        await _waiting(admission, 1)
        await asyncio.sleep(0.5)
        let.let.release()
        assert await stream.read() == b"2"
        await stream.done_writing()
        codes = {await stream.code(), (await other).code}
        await watch.wait(2)

    call = next(call for call in watch.calls if call.principal.name == "stream")
    assert codes == {Code.OK}
    assert call.queue_ns > 0.4e9
    assert call.model_ns + call.queue_ns <= call.ended_ns - call.opened_ns


async def test_nothing_is_left_of_calls_that_ended(colour: str) -> None:
    """However they ended: neither places nor memory."""
    admission = Admission(Capacity(others=2, waiting=2, calls=8, wait=0.2))
    async with serving(colour, Chain(Watch(), Named(), admission)) as served:
        asked = [_start(served, b"x", f"caller {number % 5}") for number in range(60)]
        await asyncio.gather(*asked)
        await _waiting(admission, 0)
        last = await served.ask("unary_unary", b"x")

    assert last.code == Code.OK
    assert not admission._seats
    assert not admission._tickets
    assert not admission._paused
    assert not len(admission._crowd)
    assert admission._others.free == 2
