"""Tokens over real connections in both colours: told by handlers, and a stream that its budget ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Chain, report_tokens
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import Clamps, amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.usage import Usage
from tests.interceptors.serving import COLOURS, SHAPES, Watch, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]


class Metered:
    """A chain with one budget of tokens for everybody, in which a message may cost 1 + 10 at most."""

    def __init__(self, text: str, *, ahead: bool = False) -> None:
        self.store, self.watch = MemoryStore(), Watch()
        self.purse = Purse(self.store, waits=ahead)
        day = Budget(name="all", per=(), amount=amount(text))
        self.chain = Chain(self.watch, Budgets(self.purse, [day], Clamps(1000, 60.0, 10)))

    def spent(self) -> int:
        self.purse.close()
        return sum(entry.spent for entry in self.store.entries())


async def talk(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """To each message ten answers of three tokens each."""
    async for message in messages:
        report_tokens(input=1)
        for _ in range(10):
            report_tokens(output=3)
            yield message


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_a_handler_tells_is_on_the_record(colour: str, shape: str) -> None:
    """In whatever thread or task it runs; a method with one answer ends with the first."""
    metered = Metered("1000000 tokens/day")
    async with serving(colour, metered.chain, talk) as server:
        seen = await server.ask(shape, b"x")
    await metered.watch.wait()

    assert seen.code is Code.OK
    assert metered.watch.last.usage == (Usage(1, 30) if shape.endswith("stream") else Usage(1, 3))
    assert metered.spent() == sum(metered.watch.last.usage or ())


@pytest.mark.parametrize("ahead", [False, True], ids=["memory", "store"])
@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_a_stream_ends_before_what_it_cannot_pay_for(colour: str, shape: str, ahead: bool) -> None:
    """20 tokens are 1 of input, and six answers of 3; the seventh never leaves, and the budget is spent."""
    metered = Metered("20 tokens/day", ahead=ahead)
    async with serving(colour, metered.chain, talk) as server:
        seen = await server.ask(shape, b"x")
    await metered.watch.wait()

    assert (seen.code, len(seen.messages)) == (Code.RESOURCE_EXHAUSTED, 6)
    assert "of tokens/day wanted" in seen.details
    assert metered.watch.reason == "BUDGET_EXHAUSTED"
    assert metered.spent() == 20


async def test_who_is_cut_off_in_the_model_pays_for_the_input(colour: str) -> None:
    """The handler told nothing by then: the bytes of the message."""
    metered = Metered("1000000 tokens/day")

    async def wait(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in messages:
            if colour == "sync":
                until = time.monotonic() + 20
                while context.is_active() and time.monotonic() < until:
                    time.sleep(0.01)  # noqa: ASYNC251 - a thread of grpc.server runs this
                raise TimeoutError
            await context_ended()
            yield b""

    async def context_ended() -> None:
        import asyncio

        await asyncio.Event().wait()

    async with serving(colour, metered.chain, wait) as server:
        seen = await server.ask("unary_unary", b"x" * 77, timeout=0.5)
        assert seen.code is Code.DEADLINE_EXCEEDED
        await metered.watch.wait()

    assert metered.watch.reason == "DEADLINE_EXCEEDED"
    assert metered.spent() == 77
