"""A guard that cannot decide at once: the call waits, the server does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Refusal, Stage
from guardhouse.interceptors.verbs import Later

from .serving import COLOURS, SHAPES, Watch, finish, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


class Slow(Guard):
    """Decides by `finish`, in whatever thread that runs, once it is let."""

    stage = Stage.BUDGET

    def __init__(self, *, refuses: bool = False, out: bool = False) -> None:
        self.refuses, self.out = refuses, out
        self.order: list[str] = []
        self.threads: set[str] = set()
        self.asked = threading.Event()
        self.let = threading.Event()
        self.let.set()

    def inspect(self, call: Call, request: Any) -> None:
        if not self.out:
            raise Later(self._finish)

    def again(self, call: Call, incoming: bool) -> None:
        if self.out and not incoming:
            raise Later(self._finish)

    def _finish(self) -> None:
        self.asked.set()
        assert self.let.wait(20)
        self.order.append("finish")
        self.threads.add(threading.current_thread().name)
        if self.refuses:
            raise Refusal("RATE_LIMITED", retry_after=1.0)


class Behind(Guard):
    """Stands behind it, and notes that it was asked, and what it saw."""

    stage = Stage.SCREENING

    def __init__(self, order: list[str]) -> None:
        self.order = order

    def inspect(self, call: Call, request: Any) -> None:
        self.order.append(f"behind {call.raw.decode()}")


@every_shape
async def test_the_guards_behind_are_asked_once_it_has_decided(colour: str, shape: str) -> None:
    """In order, before the model, with the message still as it came."""
    slow, watch = Slow(), Watch()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            slow.order.append("model")
            yield message

    async with serving(colour, Chain(watch, slow, Behind(slow.order)), model) as served:
        outcome = await served.ask(shape, b"x")

    assert (outcome.code, outcome.messages) == (Code.OK, [b"x"])
    assert slow.order == ["finish", "behind x", "model"]


@every_shape
async def test_what_it_refuses_does_not_reach_the_model(colour: str, shape: str) -> None:
    """A refusal after waiting is like any other: its guard is named, nobody behind is asked."""
    slow, watch = Slow(refuses=True), Watch()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            slow.order.append("model")
            yield message

    async with serving(colour, Chain(watch, slow, Behind(slow.order)), model) as served:
        outcome = await served.ask(shape, b"x")
        await watch.wait()

    assert outcome.code == Code.RESOURCE_EXHAUSTED
    assert (watch.reason, watch.calls[0].refusal.guard) == ("RATE_LIMITED", "budget")
    assert slow.order == ["finish"]


@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_what_goes_out_may_have_to_wait_too(colour: str, shape: str) -> None:
    """Before each message of an answer; refused, it does not leave."""
    letting, refusing = Slow(out=True), Slow(out=True, refuses=True)

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield b"1"
            yield b"2"

    outcomes = []
    for slow in (letting, refusing):
        async with serving(colour, Chain(Watch(), slow), model) as served:
            outcomes.append(await served.ask(shape, b"x"))

    assert [outcome.messages for outcome in outcomes] == [[b"1", b"2"], []]
    assert [outcome.code for outcome in outcomes] == [Code.OK, Code.RESOURCE_EXHAUSTED]
    assert letting.order == ["finish", "finish"]


async def test_others_are_served_meanwhile(colour: str) -> None:
    """One call waits for its decision; a call that needs none is answered before it."""
    slow = Slow()
    slow.let.clear()

    class Sometimes(Slow):
        def inspect(self, call: Call, request: Any) -> None:
            if request == b"slow":
                raise Later(slow._finish)

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async with serving(colour, Chain(Watch(), Sometimes()), model) as served:
        waiting = asyncio.ensure_future(served.ask("unary_unary", b"slow"))
        await asyncio.to_thread(slow.asked.wait, 20)
        quick = await served.ask("unary_unary", b"quick")
        done_before = waiting.done()
        slow.let.set()
        waited = await waiting

    assert (quick.code, done_before, waited.code) == (Code.OK, False, Code.OK)


async def test_a_guard_that_would_wait_before_a_message_is_read_is_a_bug(colour: str) -> None:
    """It is refused as one, never let through undecided."""

    class Early(Guard):
        stage = Stage.BUDGET

        def again(self, call: Call, incoming: bool) -> None:
            if incoming:
                raise Later(lambda: None)

    seen: list[bytes] = []

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            seen.append(message)
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch, Early()), model) as served:
        outcome = await finish(served.start("stream_stream", [b"1", b"2"]))
        await watch.wait()

    assert (outcome.code, watch.reason, seen) == (Code.INTERNAL, "INTERNAL", [b"1"])
