"""Messages that are long in coming, and calls that wait for a thread: what was true may be so no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Policy, Principal, RateLimit, Refusal, Stage
from guardhouse.interceptors.shells import shapes

from .serving import COLOURS, SHAPES, Watch, finish, serving


class Keys(Guard):
    """Lets callers in until their key is revoked, and notes what it was asked and when."""

    stage = Stage.TOKEN

    def __init__(self) -> None:
        self.revoked = False
        self.asked: list[str] = []
        self.times: list[float] = []
        self.admitted = threading.Event()

    def admit(self, call: Call) -> None:
        self._ask("admit", call)
        self.admitted.set()

    def again(self, call: Call, incoming: bool) -> None:
        self._ask("in" if incoming else "out", call)

    def _ask(self, what: str, call: Call) -> None:
        self.asked.append(what)
        self.times.append(call.now)
        if self.revoked:
            raise Refusal("TOKEN_INVALID", "revoked")


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_first_message_that_comes_late_finds_its_caller_asked_once_more(
    colour: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was revoked between the headers and the message lets nothing reach the model."""
    monkeypatch.setattr(shapes, "PAUSE", 0.0)
    keys, watch, seen = Keys(), Watch(), []

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            seen.append(message)
            yield message

    async def late() -> AsyncIterator[bytes]:
        await asyncio.to_thread(keys.admitted.wait, 10)
        keys.revoked = True
        yield b"x"

    caller = "stream_stream" if shape.endswith("_stream") else "stream_unary"
    async with serving(colour, Chain(watch, keys), model) as served:
        outcome = await finish(served.start(shape, late(), caller=caller))
        await watch.wait()

    assert (outcome.code, outcome.messages, seen) == (Code.UNAUTHENTICATED, [], [])
    assert (watch.reason, keys.asked) == ("TOKEN_INVALID", ["admit", "in"])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", ["unary_unary", "stream_unary"])
async def test_a_first_message_that_comes_at_once_costs_nothing_more(colour: str, shape: str) -> None:
    """The guards have just been asked."""
    keys = Keys()
    async with serving(colour, Chain(keys)) as served:
        outcome = await served.ask(shape, b"x")

    assert (outcome.code, keys.asked) == (Code.OK, ["admit"])


def test_a_first_message_is_charged_once() -> None:
    """`admit` has charged it, whenever it comes; each further one is charged as it comes."""
    policy = Policy.parse(
        "roles: {user: {allow: [{methods: ['*'], models: ['*']}], limits: {rate: 10/s, burst: 10}}}\n"
        "bindings: [{role: user, subject: alice}]"
    )
    alice, rate = Principal("alice", subject="alice"), RateLimit()
    call = Call("/a.B/c", (), True, 0, 0, principal=alice, grant=policy.grant(alice), now=1.0)
    rate.admit(call)
    call.requests = 1
    rate.inspect(call, None)
    assert call.units == 1

    call.requests = 2
    rate.inspect(call, None)

    assert call.units == 2


async def test_a_call_that_waited_for_a_thread_is_judged_by_the_time_it_has_one() -> None:
    """Not by that of its arrival: its token may have ended, and its ledger fallen ill."""
    keys, free = Keys(), threading.Event()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            free.wait(10)
            yield message

    chain = Chain(keys)
    async with serving("sync", chain, model) as served:  # it has eight threads
        calls = [asyncio.create_task(finish(served.start("unary_unary", b"x"))) for _ in range(9)]
        async with asyncio.timeout(10):
            while len(chain.under_way) < 9 or len(keys.times) < 8:  # noqa: ASYNC110 - threads of grpc's
                await asyncio.sleep(0.005)
        freed = time.monotonic()
        free.set()
        outcomes = await asyncio.gather(*calls)

    assert [outcome.code for outcome in outcomes] == [Code.OK] * 9
    assert [number for number, asked in enumerate(keys.times) if asked >= freed] == [8]
