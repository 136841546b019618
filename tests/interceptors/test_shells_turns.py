"""A guard that makes calls wait for their turn: before they are read, many at once, none of them for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Refusal, Stage
from guardhouse.interceptors.verbs import Later

from .serving import COLOURS, PATIENCE, SHAPES, Watch, finish, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
every_shape = pytest.mark.parametrize("shape", SHAPES)
both_verbs = pytest.mark.parametrize("verb", ["admit", "inspect"])


class Turns(Guard):
    """Makes every call wait at *verb*."""

    stage = Stage.BUDGET

    def __init__(self, verb: str = "admit", patience: float | None = None) -> None:
        self.verb, self.patience = verb, patience
        self.turns: list[Future[None]] = []
        self.requests: list[int] = []  # messages that were read of each call when it was asked about

    def admit(self, call: Call) -> None:
        call.patience = self.patience
        self._wait("admit", call)

    def inspect(self, call: Call, request: Any) -> None:
        self._wait("inspect", call)

    def _wait(self, verb: str, call: Call) -> None:
        if verb == self.verb:
            turn: Future[None] = Future()
            self.requests.append(call.requests)
            self.turns.append(turn)
            raise Later(turn=turn)

    async def wait(self, most: int = 1) -> None:
        """Until *most* calls wait."""
        async with asyncio.timeout(PATIENCE):
            while len(self.turns) < most:  # noqa: ASYNC110 - threads append, too
                await asyncio.sleep(0.002)

    async def left(self) -> None:
        """Until nobody waits for the last turn any more."""
        gone = threading.Event()
        self.turns[-1].add_done_callback(lambda _: gone.set())
        assert await asyncio.to_thread(gone.wait, PATIENCE)


class Resuming(Turns):
    """Makes each stream wait once to go on."""

    def pause(self, call: Call) -> None:
        """As a guard does that has it resumed."""

    def resume(self, call: Call) -> None:
        if not self.turns:
            self._wait("resume", call)


class Behind(Guard):
    """Notes what it is asked about."""

    stage = Stage.SCREENING

    def __init__(self) -> None:
        self.asked: list[str] = []

    def admit(self, call: Call) -> None:
        self.asked.append("admit")

    def inspect(self, call: Call, request: Any) -> None:
        self.asked.append(f"inspect {call.raw.decode()}")


@both_verbs
@every_shape
async def test_the_call_goes_on_where_it_stopped(colour: str, shape: str, verb: str) -> None:
    """The guards behind are asked once its turn has come, and each once; before that, nothing happens."""
    turns, behind, watch = Turns(verb), Behind(), Watch()
    async with serving(colour, Chain(watch, turns, behind)) as served:
        asked = asyncio.ensure_future(served.ask(shape, b"x"))
        await turns.wait()
        before = list(behind.asked)
        turns.turns[0].set_result(None)
        outcome = await asked

    assert (outcome.code, outcome.messages) == (Code.OK, [b"x"])
    assert before == ([] if verb == "admit" else ["admit"])
    assert behind.asked == ["admit", "inspect x"]
    assert turns.requests == [0 if verb == "admit" else 1]


@both_verbs
@every_shape
async def test_a_turn_may_be_refused(colour: str, shape: str, verb: str) -> None:
    """It is a refusal of the guard that made the call wait; nobody behind is asked."""
    turns, behind, watch = Turns(verb), Behind(), Watch()
    async with serving(colour, Chain(watch, turns, behind)) as served:
        asked = asyncio.ensure_future(served.ask(shape, b"x"))
        await turns.wait()
        turns.turns[0].set_exception(Refusal("RATE_LIMITED", retry_after=1.0))
        outcome = await asked
        await watch.wait()

    assert outcome.code == Code.RESOURCE_EXHAUSTED
    assert watch.last.refusal is not None
    assert (watch.reason, watch.last.refusal.guard) == ("RATE_LIMITED", "budget")
    assert [entry for entry in behind.asked if entry != "admit" or verb == "admit"] == []


@both_verbs
async def test_who_leaves_waits_no_more(colour: str, verb: str) -> None:
    """The turn is cancelled, which tells the guard; the call is settled, and its thread is free."""
    turns, watch = Turns(verb), Watch()
    async with serving(colour, Chain(watch, turns)) as served:
        call = served.start("unary_unary", b"x")
        await turns.wait()
        call.cancel()
        await turns.left()
        await watch.wait()

    assert turns.turns[0].cancelled()
    assert watch.reason == "CANCELLED"


@both_verbs
async def test_whose_deadline_passes_waits_no_more(colour: str, verb: str) -> None:
    """Its own deadline, told from a caller who leaves."""
    turns, watch = Turns(verb), Watch()
    async with serving(colour, Chain(watch, turns)) as served:
        outcome = await finish(served.start("unary_unary", b"x", timeout=0.3))
        await watch.wait()

    assert (outcome.code, watch.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert turns.turns[0].cancelled()


async def test_nobody_waits_longer_than_we_give_a_call(colour: str) -> None:
    """Our own limit ends the wait of a caller who gave none, before its message was read."""
    turns, watch = Turns("admit", patience=0.3), Watch()
    async with serving(colour, Chain(watch, turns)) as served:
        outcome = await finish(served.start("unary_unary", b"x"))
        await watch.wait()

    assert (outcome.code, watch.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert turns.turns[0].cancelled()


async def test_a_guard_that_drops_the_turn_ends_the_call(colour: str) -> None:
    """As the end of the chain does, for calls that still wait: an answer, never one that hangs."""
    turns, watch = Turns("admit"), Watch()
    async with serving(colour, Chain(watch, turns)) as served:
        asked = asyncio.ensure_future(served.ask("unary_unary", b"x"))
        await turns.wait()
        turns.turns[0].cancel()
        outcome = await asked
        await watch.wait()

    assert (outcome.code, watch.reason) == (Code.CANCELLED, "CANCELLED")


async def test_hundreds_wait_and_others_are_served(colour: str) -> None:
    """A server with a loop needs no thread for those who wait; one with threads has as many as it has."""
    many = 4 if colour == "sync" else 300

    class Some(Turns):
        def _wait(self, verb: str, call: Call) -> None:
            if call.values("waits"):
                super()._wait(verb, call)

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    turns = Some("admit")
    before = threading.active_count()
    async with serving(colour, Chain(Watch(), turns), model) as served:
        waiting = [served.start("unary_unary", b"x", metadata=(("waits", "1"),)) for _ in range(many)]
        ends = asyncio.gather(*map(finish, waiting))
        await turns.wait(many)
        threads = threading.active_count() - before
        quick = await served.ask("unary_unary", b"quick")
        for turn in turns.turns:
            turn.set_result(None)
        outcomes = await ends

    assert quick.code == Code.OK
    assert {outcome.code for outcome in outcomes} == {Code.OK}
    assert threads < 40


async def test_a_task_that_gives_up_its_turn_does_not_end_the_call(colour: str) -> None:
    """A service that cancels its own reader goes on; the turn is left to the call."""
    if colour == "sync":
        pytest.skip("threads have no task to cancel")

    turns, watch = Resuming("resume"), Watch()

    async def model(_: Any, context: Any) -> AsyncIterator[bytes]:
        reader = asyncio.ensure_future(context.read())
        await turns.wait()
        reader.cancel()
        await asyncio.wait([reader])
        yield b"on" if reader.cancelled() else b"off"

    async with serving(colour, Chain(watch, turns), model) as served:
        outcome = await served.ask("stream_stream", b"x")

    assert (outcome.code, outcome.messages) == (Code.OK, [b"on"])
    assert not turns.turns[0].cancelled()


async def test_time_spent_waiting_for_a_thread_is_not_taken_from_the_deadline_twice(colour: str) -> None:
    """A guard finds opening and what the caller gave to add up to the caller's deadline."""
    ends: list[float] = []

    class Ends(Guard):
        def admit(self, call: Call) -> None:
            assert call.remaining is not None
            ends.append(call.opened_ns * 1e-9 + call.remaining)

    let = threading.Event()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            if colour == "sync":
                let.wait(PATIENCE)
            yield message

    async with serving(colour, Chain(Watch(), Ends()), model) as served:
        began = time.monotonic()
        calls = [served.start("unary_unary", b"x", timeout=PATIENCE) for _ in range(9)]  # threads: eight
        asked = asyncio.gather(*map(finish, calls))
        await asyncio.sleep(1.0)
        let.set()
        outcomes = await asked

    assert {outcome.code for outcome in outcomes} == {Code.OK}
    assert all(abs(end - began - PATIENCE) < 0.7 for end in ends)


async def test_who_may_not_go_on_is_stopped_though_its_service_swallows_it(colour: str) -> None:
    """A handler that goes on after the refusal of its turn has answered nobody."""
    turns, watch = Resuming("resume"), Watch()

    async def model(messages: Any, _: Any) -> AsyncIterator[bytes]:
        with suppress(Refusal):
            async for message in messages:
                yield message
        yield b"on"

    async with serving(colour, Chain(watch, turns), model) as served:
        asked = asyncio.ensure_future(served.ask("stream_stream", b"x"))
        await turns.wait()
        turns.turns[0].set_exception(Refusal("OVERLOADED", retry_after=1.0))
        outcome = await asked
        await watch.wait()

    assert (outcome.code, outcome.messages) == (Code.RESOURCE_EXHAUSTED, [])
    assert watch.reason == "OVERLOADED"


def test_it_waits_for_something(colour: str) -> None:
    """To say nothing is a bug that is found where it is made."""
    with pytest.raises(TypeError, match="nothing to wait for"):
        Later()
