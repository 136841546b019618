"""Every message of a stream passes the chain, whichever way a handler reads and writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Principal, Refusal, Stage
from guardhouse.interceptors.identity import Identity

from .serving import COLOURS, Watch, handler, serving

EOF = grpc.aio.EOF


class Sees(Guard):
    """Notes every message and hides what leaves; refuses the one it was told to."""

    stage = Stage.OUTPUT

    def __init__(self, refuse_in: bytes = b"", refuse_out: bytes = b"") -> None:
        self.inspected: list[bytes] = []
        self.released: list[bytes] = []
        self.refuse_in, self.refuse_out = refuse_in, refuse_out

    def inspect(self, call: Call, request: Any) -> None:
        self.inspected.append(request)
        if request == self.refuse_in:
            raise Refusal("MODEL_DENIED")

    def release(self, call: Call, response: Any) -> Any:
        self.released.append(response)
        if response == self.refuse_out:
            raise Refusal("RATE_LIMITED")
        return b"hidden"


async def _generator(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _generator_that_reads(requests: Any, context: Any) -> AsyncIterator[bytes]:
    while (request := await context.read()) is not EOF:
        yield request


async def _reader_writer(requests: Any, context: Any) -> None:
    while (request := await context.read()) is not EOF:
        await context.write(request)


async def _iterates_and_writes(requests: AsyncIterator[bytes], context: Any) -> None:
    async for request in requests:
        await context.write(request)


async def _writes_elsewhere(requests: AsyncIterator[bytes], context: Any) -> None:
    async def echo() -> None:
        async for request in requests:
            await context.write(request)

    await asyncio.create_task(echo())


def _sync_generator(requests: Any, context: Any) -> Any:
    yield from requests


def _sync_iterator(requests: Any, context: Any) -> Any:
    return map(bytes, requests)


STYLES = [
    ("aio", _generator),
    ("aio", _generator_that_reads),
    ("aio", _reader_writer),
    ("aio", _iterates_and_writes),
    ("aio", _writes_elsewhere),
    ("bound", _generator),
    ("bound", _reader_writer),
    ("sync", _sync_generator),
    ("sync", _sync_iterator),
]


def _methods(behave: Any) -> dict[str, Any]:
    return {"stream_stream": handler("stream_stream", behave)}


@pytest.mark.parametrize(("colour", "behave"), STYLES)
async def test_every_style_of_handler(colour: str, behave: Any) -> None:
    """Requests are inspected and answers released one by one, in order: there is no way around."""
    watch, sees = Watch(), Sees()
    async with serving(colour, Chain(watch, sees), methods=_methods(behave)) as served:
        outcome = await served.ask("stream_stream", b"a", b"b", b"c")

    assert (outcome.code, outcome.messages) == (Code.OK, [b"hidden"] * 3)
    assert sees.inspected == sees.released == [b"a", b"b", b"c"]
    assert (watch.last.requests, watch.last.responses) == (3, 3)
    assert watch.statuses == [Code.OK]


async def _stubborn_reader(requests: Any, context: Any) -> None:
    for _ in range(5):
        try:
            request = await context.read()
            await context.write(request)
        except Exception:
            await asyncio.sleep(0)
    await context.write(b"anyway")


async def _stubborn_writer(requests: Any, context: Any) -> None:
    async for request in requests:
        try:
            await context.write(request)
        except Exception:
            await asyncio.sleep(0)


async def _stubborn_generator(requests: Any, context: Any) -> AsyncIterator[bytes]:
    try:
        async for request in requests:
            yield request
    except Exception:
        yield b"anyway"


async def _turns_to_error(requests: Any, context: Any) -> AsyncIterator[bytes]:
    try:
        async for request in requests:
            yield request
    except Refusal as error:
        raise ValueError("canary") from error


async def _silent(requests: Any, context: Any) -> None:
    try:
        async for request in requests:
            await context.write(request)
    except Refusal:
        return


def _silent_sync(requests: Any, context: Any) -> Any:
    while True:
        try:
            yield next(requests)
        except (StopIteration, Refusal):
            return


def _stubborn_sync(requests: Any, context: Any) -> Any:
    while True:
        try:
            yield next(requests)
        except StopIteration:
            return
        except Exception:
            yield b"anyway"


STUBBORN = [
    ("aio", _stubborn_reader),
    ("aio", _stubborn_writer),
    ("aio", _stubborn_generator),
    ("aio", _turns_to_error),
    ("aio", _silent),
    ("sync", _stubborn_sync),
    ("sync", _silent_sync),
]


@pytest.mark.parametrize(("colour", "behave"), STUBBORN)
@pytest.mark.parametrize(
    ("sees", "reason", "code"),
    [
        ({"refuse_in": b"b"}, "MODEL_DENIED", Code.PERMISSION_DENIED),
        ({"refuse_out": b"b"}, "RATE_LIMITED", Code.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_refusal_in_mid_stream_ends_it(
    colour: str, behave: Any, sees: dict[str, bytes], reason: str, code: Code
) -> None:
    """A refused message ends the stream with its reason, also for a handler that swallows what it is told."""
    watch, guard = Watch(), Sees(**sees)
    async with serving(colour, Chain(watch, guard), methods=_methods(behave)) as served:
        outcome = await served.ask("stream_stream", b"a", b"b", b"c")

    assert (outcome.code, outcome.messages) == (code, [b"hidden"])
    assert outcome.trailer("guardhouse-reason") == reason
    assert (watch.statuses, watch.reason) == ([code], reason)
    assert b"anyway" not in guard.released
    assert guard.inspected[-1] == b"b"


class Expires(Guard):
    """Stands in for a certificate: a principal whose proof ends after some messages."""

    stage = Stage.IDENTITY

    def __init__(self) -> None:
        self.messages = 0

    def admit(self, call: Call) -> None:
        call.principal = Principal("spiffe://a/b", "spiffe://a/b", proofs=("mtls",), expires=call.wall + 3600)

    def again(self, call: Call, incoming: bool) -> None:
        self.messages += 1
        if self.messages == 3:
            call.wall += 7200


class IdentityOnly(Identity):
    """The guard's check of each message, without a certificate."""

    def admit(self, call: Call) -> None:
        """Leave the principal alone."""


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_a_certificate_that_expires_ends_a_stream(colour: str, shape: str) -> None:
    """Also a stream of answers to one request, which says nothing more that could be inspected."""

    async def ten(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            for _ in range(10):
                yield b"x"

    watch, expires = Watch(), Expires()
    async with serving(colour, Chain(watch, expires, IdentityOnly()), ten) as served:
        outcome = await served.ask(shape, b"a")

    assert outcome.code == Code.UNAUTHENTICATED
    assert outcome.trailer("guardhouse-reason") == "CERTIFICATE_EXPIRED"
    assert len(outcome.messages) == 2
    assert watch.statuses == [Code.UNAUTHENTICATED]


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_long_stream_is_one_record(colour: str) -> None:
    """Ten thousand messages out are one call, each of them released."""

    async def many(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            for _ in range(10_000):
                yield b"x"

    watch, sees = Watch(), Sees()
    async with serving(colour, Chain(watch, sees), many) as served:
        outcome = await served.ask("unary_stream", b"a")

    assert (outcome.code, len(outcome.messages), set(outcome.messages)) == (Code.OK, 10_000, {b"hidden"})
    assert len(sees.released) == watch.last.responses == 10_000
    assert watch.statuses == [Code.OK]


async def test_a_reader_left_behind_counts_no_more() -> None:
    """A task that reads on after its call has ended is stopped: nothing is inspected that nobody settles."""
    outcomes: list[str] = []
    go_on = asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def leaves_a_reader(requests: Any, context: Any) -> AsyncIterator[bytes]:
        async def read_on() -> None:
            await go_on.wait()
            for what in (context.read, lambda: context.write(b"late")):
                try:
                    await what()
                except Exception as error:
                    outcomes.append(type(error).__name__)

        left.append(asyncio.create_task(read_on()))
        yield b"done"

    watch, sees = Watch(), Sees()
    async with serving("aio", Chain(watch, sees), methods=_methods(leaves_a_reader)) as served:
        outcome = await served.ask("stream_stream", b"a", b"b")
        go_on.set()
        await asyncio.gather(*left)

    assert outcome.code == Code.OK
    assert outcomes == ["Refusal", "Refusal"]
    assert sees.inspected == []


async def test_a_method_with_one_answer_cannot_write_two() -> None:
    """`context.write` in a handler that should return its answer fails, and sends nothing."""

    async def writes(request: bytes, context: Any) -> bytes:
        await context.write(b"one")
        return b"two"

    watch = Watch()
    async with serving(
        "aio", Chain(watch), methods={"unary_unary": handler("unary_unary", writes)}
    ) as served:
        outcome = await served.ask("unary_unary", b"a")

    assert (outcome.code, watch.statuses) == (Code.INTERNAL, [Code.INTERNAL])
