"""Calls that end before they are done: too much, too late, given up, turned away by grpc itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Chain
from guardhouse.interceptors.deadline import Deadline

from .serving import COLOURS, PATIENCE, SHAPES, Token, Watch, finish, pause, serving, stop

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


@every_shape
async def test_a_message_over_the_limit(colour: str, shape: str) -> None:
    """grpc refuses it; the call is recorded once, and no part of the message was parsed."""
    parsed: list[bytes] = []
    watch = Watch()
    async with serving(colour, Chain(watch), parse=parsed.append) as served:
        outcome = await served.ask(shape, b"x" * 200_000)
        await watch.wait()

    assert outcome.code == Code.RESOURCE_EXHAUSTED
    assert parsed == []
    assert len(watch.calls) == 1
    # grpc decides after us, and shows us the same as for a caller that leaves.
    expected = Code.RESOURCE_EXHAUSTED if shape.startswith("unary") else Code.CANCELLED
    assert watch.statuses == [expected]


@pytest.mark.parametrize("shape", ["stream_unary", "stream_stream"])
@pytest.mark.parametrize("how", ["leaves", "sends too much"])
async def test_a_stream_cut_off_is_no_end(colour: str, shape: str, how: str) -> None:
    """A model never takes what came before the caller left, or sent too much, for all of the messages."""
    ends: list[str] = []

    async def model(messages: Any, context: Any) -> Any:
        count = 0
        async for _ in messages:
            count += 1
        ends.append("clean")
        yield b"%d" % count

    async def messages() -> Any:
        yield b"x"
        if how == "leaves":
            await asyncio.sleep(PATIENCE)
        yield b"x" * 3000

    async def one(served: Any) -> None:
        call = served.start(shape, messages())
        reading = asyncio.ensure_future(finish(call))
        if how == "leaves":
            await asyncio.sleep(0.02)
            call.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    watch = Watch()
    limit = (("grpc.max_receive_message_length", 2000),)
    async with serving(colour, Chain(watch), model, options=limit) as served:
        for _ in range(2):
            await asyncio.gather(*(one(served) for _ in range(15)))
        await watch.wait(30)

    assert ends == []
    assert watch.statuses == [Code.CANCELLED] * 30


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_a_caller_that_sends_no_message(colour: str, shape: str) -> None:
    """A method of one message gets none: the caller's mistake, not an empty message."""
    watch = Watch()
    async with serving(colour, Chain(watch)) as served:
        caller = shape.replace("unary_", "stream_", 1)
        outcome = await served.ask(shape, caller=caller)

    assert (outcome.code, watch.statuses) == (Code.INVALID_ARGUMENT, [Code.INVALID_ARGUMENT])
    assert outcome.trailer("guardhouse-reason") == "MESSAGE_MISSING"


@every_shape
@pytest.mark.parametrize("then", ["stops", "answers", "breaks"])
async def test_the_caller_leaves_while_the_model_works(colour: str, shape: str, then: str) -> None:
    """A call that is cancelled is recorded as cancelled, once, whatever a model makes of being stopped."""
    started, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(messages: Any, context: Any) -> Any:
        async for message in messages:
            loop.call_soon_threadsafe(started.set)
            try:
                await pause(0.15 if colour == "sync" else 30)
            except asyncio.CancelledError:
                if then == "stops":
                    raise
                if then == "breaks":
                    raise ValueError("canary") from None
            finally:
                loop.call_soon_threadsafe(ended.set)
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch), slow) as served:
        call = served.start(shape, [b"x"] if shape.startswith("stream") else b"x")
        reading = asyncio.ensure_future(finish(call))
        await started.wait()
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await ended.wait()
        await watch.wait()

    assert watch.statuses == [Code.CANCELLED]


@every_shape
async def test_the_caller_leaves_before_sending(colour: str, shape: str) -> None:
    """A call that was opened and given up before its first message is recorded once."""
    watch = Watch()

    async def never() -> Any:
        await asyncio.sleep(30)
        yield b""

    async with serving(colour, Chain(watch)) as served:
        call = served.start(shape, never(), caller=shape.replace("unary_", "stream_", 1))
        reading = asyncio.ensure_future(finish(call))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await watch.wait()

    # Where one message is due, grpc shows the same as for one over its limit.
    expected = Code.RESOURCE_EXHAUSTED if shape.startswith("unary") else Code.CANCELLED
    assert watch.statuses == [expected]


@every_shape
async def test_the_callers_deadline(colour: str, shape: str) -> None:
    """A deadline that passes while the model works is recorded as such, once."""

    async def slow(messages: Any, context: Any) -> Any:
        async for message in messages:
            await pause(0.15 if colour == "sync" else 30)
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch), slow) as served:
        outcome = await served.ask(shape, b"hello", timeout=0.1)
        await watch.wait()

    assert (outcome.code, watch.statuses) == (Code.DEADLINE_EXCEEDED, [Code.DEADLINE_EXCEEDED])


@every_shape
@pytest.mark.parametrize("swallows", [False, True])
async def test_our_own_deadline(colour: str, shape: str, swallows: bool) -> None:
    """A caller without a deadline gets ours, also from a handler that will not be cancelled."""

    async def slow(messages: Any, context: Any) -> Any:
        async for message in messages:
            try:
                await pause(0.1 if colour == "sync" else 30)
            except asyncio.CancelledError:
                if not swallows:
                    raise
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch, Deadline(0.05)), slow) as served:
        outcome = await served.ask(shape, b"hello", timeout=None)

    assert (outcome.code, outcome.messages) == (Code.DEADLINE_EXCEEDED, [])
    assert watch.statuses == [Code.DEADLINE_EXCEEDED]


@every_shape
async def test_a_server_that_stops(colour: str, shape: str) -> None:
    """Calls under way when the server stops are recorded, each once."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(messages: Any, context: Any) -> Any:
        async for message in messages:
            loop.call_soon_threadsafe(started.set)
            await pause(0.15 if colour == "sync" else 30)
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch), slow) as served:
        calls = [served.start(shape, [b"x"] if shape.startswith("stream") else b"x") for _ in range(3)]
        reading = [asyncio.ensure_future(finish(call)) for call in calls]
        await started.wait()
        await asyncio.sleep(0.05)
        await stop(colour, served.server)
        outcomes = await asyncio.gather(*reading)
        await watch.wait(3)

    assert {outcome.code for outcome in outcomes} <= {Code.CANCELLED, Code.UNAVAILABLE}
    assert watch.statuses == [Code.CANCELLED] * 3


async def test_more_calls_than_the_server_takes(colour: str) -> None:
    """What grpc itself turns away after us is recorded too: as never dispatched."""
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    async def slow(messages: Any, context: Any) -> Any:
        async for message in messages:
            loop.call_soon_threadsafe(started.set)
            if colour == "sync":
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            else:
                await gate.wait()
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch), slow, maximum_concurrent_rpcs=1) as served:
        first = asyncio.ensure_future(served.ask("unary_unary", b"x"))
        await started.wait()
        outcome = await served.ask("unary_unary", b"x")
        await watch.wait()
        gate.set()
        assert (await first).code == Code.OK

    assert outcome.code == Code.RESOURCE_EXHAUSTED
    assert watch.statuses == [Code.CANCELLED, Code.OK]
    assert watch.calls[0].refusal is not None
    assert watch.calls[0].refusal.note == "never dispatched"


@every_shape
async def test_metadata_over_the_limit(colour: str, shape: str) -> None:
    """Metadata cut off at grpc's limit never means more rights: what comes after the cut is not there."""
    reached: list[str] = []

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            reached.append("model")
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch, Token()), model) as served:
        huge = ("x-huge", "y" * 20_000)
        outcomes = [
            await served.ask(shape, b"x", metadata=metadata)
            for metadata in ((huge, ("authorization", "x")), (("authorization", "x"), huge))
        ]
        await watch.wait(2)

    assert {outcome.code for outcome in outcomes} == {Code.RESOURCE_EXHAUSTED}
    assert reached == []
    assert len(watch.calls) == 2
    assert Code.OK not in watch.statuses
