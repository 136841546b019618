"""Calls at the same time, over real connections in both colours: who is refused, and what frees a slot."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from guardhouse.interceptors import Call, Chain, Concurrency, Guard, Principal, Refusal, Stage
from guardhouse.interceptors.limits.rules import SlotRule
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from tests.interceptors.serving import COLOURS, PATIENCE, SHAPES, Serving, Watch, abort, finish, serving

Code = grpc.StatusCode
MOST = 2
GRANT = Grant([Role("r")], Limits(slots=(SlotRule("r", most=MOST),)))


class Known(Guard):
    """Takes the caller's word for its name, and grants everybody two calls at the same time."""

    stage = Stage.TOKEN

    def admit(self, call: Call) -> None:
        (name,) = call.values("name")
        call.principal = Principal(str(name))
        call.grant = GRANT


class Picky(Guard):
    """A guard behind the slots: refuses a message by its words, and answers that are bad."""

    def inspect(self, call: Call, request: Any) -> None:
        if request == b"refused":
            raise Refusal("PARAMETER_INVALID")

    def release(self, call: Call, response: Any) -> Any:
        if response == b"bad answer":
            raise Refusal("TOO_LARGE")
        return response


class Room:
    """A service whose calls wait inside until they are let out, one at a time; and the chain before it."""

    def __init__(self) -> None:
        self.slots, self.watch = Concurrency(), Watch()
        self.chain = Chain(self.watch, Known(), self.slots, Picky())
        self.inside = threading.Semaphore(0)
        self.out = threading.Semaphore(0)

    async def behave(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for message in messages:
            if message == b"fails":
                raise ValueError("private")
            if message == b"aborts":
                await abort(context, Code.FAILED_PRECONDITION)
            if message == b"bad":
                yield b"bad answer"
            if message == b"waits":
                self.inside.release()
                await self._wait()
            yield message

    async def _wait(self) -> None:
        """Until somebody lets one out, in whichever colour."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            assert self.out.acquire(timeout=PATIENCE)
            return
        while not self.out.acquire(blocking=False):  # noqa: ASYNC110 - the tests of all colours share it
            await asyncio.sleep(0.001)

    async def entered(self, calls: int = 1) -> None:
        """Until so many calls have come in."""
        for _ in range(calls):
            assert await asyncio.to_thread(self.inside.acquire, timeout=PATIENCE)

    def taken(self) -> int:
        return sum(self.slots._kept._used.values())

    async def emptied(self) -> bool:
        """Whether every slot is given back, once all that goes on has come to its end."""
        return await until(lambda: not self.slots._kept._used)


async def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:  # noqa: ASYNC110 - threads bring it about
        await asyncio.sleep(0.002)
    return holds()


def named(name: str) -> tuple[tuple[str, str], ...]:
    return (("name", name),)


def begin(server: Serving, shape: str, *messages: bytes, name: str = "me", **extra: Any) -> Any:
    given: Any = list(messages) if shape.startswith("stream") else messages[0]
    return server.start(shape, given, metadata=named(name), **extra)


async def told(server: Serving, *messages: bytes, shape: str = "unary_unary", name: str = "me") -> Code:
    return (await server.ask(shape, *messages, metadata=named(name))).code


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_one_too_many_is_refused(colour: str, shape: str) -> None:
    """The third of three calls is refused, with reason, status and time to wait; then there is room again."""
    room = Room()
    async with serving(colour, room.chain, room.behave) as server:
        calls = [asyncio.ensure_future(finish(begin(server, shape, b"waits"))) for _ in range(MOST)]
        await room.entered(MOST)
        refused = await server.ask(shape, b"hello", metadata=named("me"))
        other = await told(server, b"hello", shape=shape, name="somebody else")
        for _ in calls:
            room.out.release()
        answered = [(await call).code for call in calls]
        assert await room.emptied()
        after = await told(server, b"hello", shape=shape)

    status = status_pb2.Status.FromString(refused.trailer("grpc-status-details-bin"))
    info, quota, retry = (
        getattr(error_details_pb2, name)() for name in ("ErrorInfo", "QuotaFailure", "RetryInfo")
    )
    for detail, message in zip(status.details, (info, quota, retry), strict=True):
        assert detail.Unpack(message)
    assert [each.subject for each in quota.violations] == ["concurrency"]
    assert (refused.code, refused.details) == (Code.RESOURCE_EXHAUSTED, "too many calls at once")
    assert (info.reason, retry.retry_delay.ToMilliseconds()) == ("CONCURRENCY_LIMITED", 100)
    assert refused.trailer("grpc-retry-pushback-ms") == "100"
    assert (answered, other, after) == ([Code.OK] * MOST, Code.OK, Code.OK)


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_stream_has_one_slot(colour: str) -> None:
    """However many messages it carries, a stream takes one slot and gives one back."""
    room = Room()
    async with serving(colour, room.chain, room.behave) as server:
        many = [b"%d" % number for number in range(1000)]
        call = asyncio.ensure_future(finish(begin(server, "stream_stream", *many, b"waits")))
        await room.entered()
        taken = room.taken()
        beside = await told(server, b"hello")
        room.out.release()
        outcome = await call
        assert await room.emptied()

    assert (taken, beside, outcome.code, len(outcome.messages)) == (1, Code.OK, Code.OK, 1001)


ENDS = {
    "the model fails": (b"fails", Code.INTERNAL),
    "the model aborts": (b"aborts", Code.FAILED_PRECONDITION),
    "a later guard refuses the message": (b"refused", Code.INVALID_ARGUMENT),
    "a guard refuses the answer": (b"bad", Code.RESOURCE_EXHAUSTED),
    "it goes well": (b"hello", Code.OK),
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_every_end_frees_the_slot(colour: str, shape: str) -> None:
    """However its calls end, a caller has all its slots again."""
    room = Room()
    async with serving(colour, room.chain, room.behave) as server:
        for what, (message, code) in ENDS.items():
            codes = {await told(server, message, shape=shape) for _ in range(MOST + 1)}
            assert codes == {code}, what
        assert await room.emptied()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", ["unary_unary", "stream_stream"])
@pytest.mark.parametrize("end", ["cancelled", "overdue"])
async def test_who_leaves_gets_no_slot_before_the_handler_stops(colour: str, shape: str, end: str) -> None:
    """A call that is cancelled or overdue frees its slot when its handler ends: at once where it can be
    ended (a task), and when it returns where it cannot (a thread)."""
    room = Room()
    async with serving(colour, room.chain, room.behave) as server:
        extra = {"timeout": 1.0} if end == "overdue" else {}
        calls = [begin(server, shape, b"waits", **extra) for _ in range(MOST)]
        finished = [asyncio.ensure_future(finish(call)) for call in calls]
        await room.entered(MOST)
        if end == "cancelled":
            for call in calls:
                call.cancel()
        codes = {(await outcome).code for outcome in finished}
        if colour == "sync":
            assert await told(server, b"hello") is Code.RESOURCE_EXHAUSTED
            assert room.taken() == MOST
            room.out.release(MOST)
        assert await room.emptied()
        assert await told(server, b"hello") is Code.OK

    assert codes == {Code.CANCELLED if end == "cancelled" else Code.DEADLINE_EXCEEDED}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_thread_that_outlives_its_chain_keeps_its_slot(shape: str) -> None:
    """The end of the chain settles calls whose threads still run: their slots are free when those return."""
    room = Room()
    async with serving("sync", room.chain, room.behave) as server:
        call = asyncio.ensure_future(finish(begin(server, shape, b"waits")))
        await room.entered()
        await asyncio.to_thread(room.chain.end)
        settled, taken = len(room.watch.calls), room.taken()
        room.out.release()
        await call
        assert await room.emptied()

    assert (settled, taken) == (1, 1)


@pytest.mark.parametrize("colour", COLOURS)
async def test_sixty_four_callers_at_once(colour: str) -> None:
    """Of 64 calls at the same moment never more than two are inside, and every slot comes back."""
    room, inside, highest = Room(), set(), []

    async def behave(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for message in messages:
            inside.add(message)
            highest.append(len(inside))
            if colour != "sync":
                await asyncio.sleep(0)
            inside.discard(message)
            yield message

    async with serving(colour, room.chain, behave) as server:
        calls = [begin(server, "unary_unary", b"%d" % number) for number in range(64)]
        codes = [(await finish(call)).code for call in calls]
        assert await room.emptied()

    assert set(codes) <= {Code.OK, Code.RESOURCE_EXHAUSTED}
    assert codes.count(Code.OK) >= MOST
    assert max(highest) <= MOST
