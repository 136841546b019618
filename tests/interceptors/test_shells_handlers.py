"""However a handler ends, caller and record are told the same: real gRPC, both colours, four shapes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Chain

from .serving import COLOURS, SHAPES, Watch, abort, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


async def _boom(messages: Any, context: Any) -> Any:
    async for _ in messages:
        raise ValueError("canary")
    yield b""


async def _exits(messages: Any, context: Any) -> Any:
    async for _ in messages:
        raise SystemExit("canary")
    yield b""


async def _cancels_itself(messages: Any, context: Any) -> Any:
    async for _ in messages:
        raise asyncio.CancelledError("canary")
    yield b""


async def _aborts(messages: Any, context: Any) -> Any:
    async for _ in messages:
        await abort(context, Code.NOT_FOUND, "no such cat")
    yield b""


async def _swallows(messages: Any, context: Any) -> Any:
    async for message in messages:
        try:
            await abort(context, Code.NOT_FOUND, "no such cat")
        except Exception:
            yield message


async def _aborts_then_breaks(messages: Any, context: Any) -> Any:
    async for _ in messages:
        try:
            await abort(context, Code.NOT_FOUND, "no such cat")
        except Exception as error:
            raise ValueError("canary") from error
    yield b""


async def _sets_code(messages: Any, context: Any) -> Any:
    async for message in messages:
        context.set_code(Code.NOT_FOUND)
        context.set_details("no such cat")
        assert context.code() == Code.NOT_FOUND
        yield message


async def _sets_number(messages: Any, context: Any) -> Any:
    async for message in messages:
        context.set_code(5)
        context.set_details("no such cat")
        yield message


async def _sets_code_and_raises(messages: Any, context: Any) -> Any:
    async for _ in messages:
        context.set_code(Code.NOT_FOUND)
        context.set_details("no such cat")
        raise ValueError("canary")
    yield b""


async def _sets_internal(messages: Any, context: Any) -> Any:
    async for message in messages:
        context.set_code(Code.INTERNAL)
        context.set_details("canary")
        yield message


async def _aborts_ok(messages: Any, context: Any) -> Any:
    async for _ in messages:
        await abort(context, Code.OK, "canary")
    yield b""


async def _aborts_unknown(messages: Any, context: Any) -> Any:
    async for _ in messages:
        await abort(context, Code.UNKNOWN, "canary")
    yield b""


HANDLERS = {
    "raises": (_boom, Code.INTERNAL, "the model failed"),
    "exits": (_exits, Code.INTERNAL, "the model failed"),
    "cancels its own work": (_cancels_itself, Code.INTERNAL, "the model failed"),
    "aborts": (_aborts, Code.NOT_FOUND, "no such cat"),
    "swallows its abort": (_swallows, Code.NOT_FOUND, "no such cat"),
    "aborts, then breaks": (_aborts_then_breaks, Code.NOT_FOUND, "no such cat"),
    "sets a code": (_sets_code, Code.NOT_FOUND, "no such cat"),
    "sets a number": (_sets_number, Code.NOT_FOUND, "no such cat"),
    "sets a code and raises": (_sets_code_and_raises, Code.NOT_FOUND, "no such cat"),
    "sets INTERNAL": (_sets_internal, Code.INTERNAL, "the model failed"),
    "aborts with OK": (_aborts_ok, Code.INTERNAL, "the model failed"),
    "aborts with UNKNOWN": (_aborts_unknown, Code.INTERNAL, "the model failed"),
}


@every_shape
@pytest.mark.parametrize("how", HANDLERS)
async def test_however_a_handler_ends(colour: str, shape: str, how: str) -> None:
    """Caller and record agree on how a handler ended; what it did not say on purpose stays here."""
    behave, code, words = HANDLERS[how]
    watch = Watch()
    async with serving(colour, Chain(watch), behave) as served:
        outcome = await served.ask(shape, b"hello")

    assert (outcome.code, outcome.details) == (code, words)
    assert b"canary" not in outcome.everything()
    assert watch.statuses == [code]


@pytest.mark.parametrize("shape", ["unary_unary", "stream_unary"])
async def test_a_handler_that_returns_nothing(colour: str, shape: str) -> None:
    """None is no answer: never OK with empty bytes."""

    async def nothing(messages: Any, context: Any) -> Any:
        async for _ in messages:
            pass
        return
        yield

    watch = Watch()
    async with serving(colour, Chain(watch), nothing) as served:
        outcome = await served.ask(shape, b"hello")

    assert (outcome.code, watch.statuses) == (Code.INTERNAL, [Code.INTERNAL])


@every_shape
async def test_a_serializer_that_raises(colour: str, shape: str) -> None:
    """What cannot be written does not leave, and its complaint does not either."""

    def render(message: Any) -> bytes:
        raise ValueError("canary")

    watch = Watch()
    async with serving(colour, Chain(watch), render=render) as served:
        outcome = await served.ask(shape, b"hello")

    assert (outcome.code, watch.statuses, watch.last.responses) == (Code.INTERNAL, [Code.INTERNAL], 0)
    assert b"canary" not in outcome.everything()
