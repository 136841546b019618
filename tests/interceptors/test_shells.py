"""Every call gets one record, which says what the caller was told: real gRPC, both colours, four shapes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Guard, Refusal, current_call

from .serving import COLOURS, SHAPES, Token, Watch, echo, serving

pytestmark = [pytest.mark.parametrize("colour", COLOURS)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


@every_shape
async def test_a_call_passes_and_is_recorded_once(colour: str, shape: str) -> None:
    """An allowed call gets its answer, the id of its trace, and one record with what was counted."""
    watch = Watch()
    async with serving(colour, Chain(watch, Token())) as served:
        outcome = await served.ask(shape, b"hello")
    call = watch.last

    assert (outcome.code, outcome.messages) == (Code.OK, [b"hello"])
    assert outcome.trailer("guardhouse-trace-id") == f"{call.trace_id:032x}"
    assert len(watch.calls) == 1
    assert (call.status, call.refusal, call.requests, call.responses) == (Code.OK, None, 1, 1)
    assert (call.request_bytes, call.response_bytes) == (5, 5)
    assert call.model_ns > 0
    assert call.peer.startswith("ipv4:127.0.0.1:")


@every_shape
async def test_a_refused_call_is_never_received(colour: str, shape: str) -> None:
    """Without a token no message is parsed, and the answer carries reason, ids and rich status."""
    parsed: list[bytes] = []
    watch = Watch()
    async with serving(colour, Chain(watch, Token()), parse=parsed.append) as served:
        outcome = await served.ask(shape, b"x" * 1000, metadata=())

    assert parsed == []
    assert outcome.code == Code.UNAUTHENTICATED
    assert outcome.details == "a bearer token is required"
    assert outcome.trailer("guardhouse-reason") == "TOKEN_MISSING"
    assert b"ErrorInfo" in outcome.trailer("grpc-status-details-bin")
    assert f"{watch.last.span_id:016x}".encode() in outcome.trailer("grpc-status-details-bin")
    assert (watch.statuses, watch.last.requests) == ([Code.UNAUTHENTICATED], 0)


class Stops(Guard):
    """Refuses, or breaks, at one verb."""

    def __init__(self, verb: str, error: Exception) -> None:
        self.verb, self.error = verb, error

    def _at(self, verb: str) -> None:
        if verb == self.verb:
            raise self.error

    def admit(self, call: Call) -> None:
        self._at("admit")

    def inspect(self, call: Call, request: Any) -> None:
        self._at("inspect")

    def release(self, call: Call, response: Any) -> Any:
        self._at("release")
        return response

    def settle(self, call: Call) -> None:
        self._at("settle")


@every_shape
@pytest.mark.parametrize("verb", ["admit", "inspect", "release"])
async def test_a_refusal_at_any_verb(colour: str, shape: str, verb: str) -> None:
    """Wherever a guard refuses, caller and record agree, and the model's answer stays here."""
    watch = Watch()
    chain = Chain(watch, Stops(verb, Refusal("RATE_LIMITED", "secret note", retry_after=1.5)))
    async with serving(colour, chain) as served:
        outcome = await served.ask(shape, b"hello")

    assert (outcome.code, outcome.messages) == (Code.RESOURCE_EXHAUSTED, [])
    assert outcome.trailer("grpc-retry-pushback-ms") == "1500"
    assert b"RetryInfo" in outcome.trailer("grpc-status-details-bin")
    assert b"secret note" not in outcome.everything()
    assert watch.statuses == [Code.RESOURCE_EXHAUSTED]
    assert watch.last.refusal is not None
    assert (watch.reason, watch.last.refusal.note, watch.last.responses) == ("RATE_LIMITED", "secret note", 0)


@every_shape
@pytest.mark.parametrize("verb", ["admit", "inspect", "release", "settle"])
async def test_a_guard_that_breaks(colour: str, shape: str, verb: str) -> None:
    """A guard's defect closes the way, except at settle, where the answer has been decided."""
    watch = Watch()
    async with serving(colour, Chain(watch, Stops(verb, ValueError("canary")))) as served:
        outcome = await served.ask(shape, b"hello")
    expected = Code.OK if verb == "settle" else Code.INTERNAL

    assert outcome.code == expected
    assert watch.statuses == [expected]


@every_shape
async def test_an_unknown_method(colour: str, shape: str) -> None:
    """It is refused to who may not know; to who may, it is unknown; both are recorded."""
    watch = Watch()
    async with serving(colour, Chain(watch, Token())) as served:
        stranger = await served.ask(shape, b"x", metadata=(), path="/no.Such/Method")
        caller = await served.ask(shape, b"x", path="/no.Such/Method")

    assert stranger.code == Code.UNAUTHENTICATED
    assert (caller.code, caller.trailer("guardhouse-reason")) == (Code.UNIMPLEMENTED, "METHOD_UNKNOWN")
    assert watch.statuses == [Code.UNAUTHENTICATED, Code.UNIMPLEMENTED]
    assert [call.known for call in watch.calls] == [False, False]


@every_shape
async def test_bytes_that_are_no_message(colour: str, shape: str) -> None:
    """A parser's complaint becomes the caller's mistake, in our words."""

    def parse(raw: bytes) -> None:
        raise ValueError("canary " + raw.decode())

    watch = Watch()
    async with serving(colour, Chain(watch), parse=parse) as served:
        outcome = await served.ask(shape, b"junk")

    assert (outcome.code, watch.statuses) == (Code.INVALID_ARGUMENT, [Code.INVALID_ARGUMENT])
    assert b"canary" not in outcome.everything()


class Breaks:
    """An interceptor behind the chain that fails."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        raise ValueError("canary")


class BreaksSync(Breaks, grpc.ServerInterceptor):
    """For grpc.server."""


class BreaksAio(grpc.aio.ServerInterceptor):
    """For grpc.aio."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        raise ValueError("canary")


async def test_an_interceptor_behind_the_chain_that_breaks(colour: str) -> None:
    """Its text does not reach the caller, nor does the failure come before the token was checked."""
    if colour == "bound":
        pytest.skip("nothing runs between a bound chain and its handlers")
    watch = Watch()
    extra = (BreaksSync() if colour == "sync" else BreaksAio(),)
    async with serving(colour, Chain(watch, Token()), extra=extra) as served:
        stranger = await served.ask("unary_unary", b"x", metadata=())
        caller = await served.ask("unary_unary", b"x")

    assert (stranger.code, caller.code) == (Code.UNAUTHENTICATED, Code.INTERNAL)
    assert b"canary" not in caller.everything()
    assert watch.statuses == [Code.UNAUTHENTICATED, Code.INTERNAL]


@every_shape
async def test_the_call_is_there_for_code_behind_the_chain(colour: str, shape: str) -> None:
    """`current_call()` is the call being served, in the handler of either colour."""
    seen: list[Call] = []

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            seen.append(current_call())
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch), model) as served:
        await served.ask(shape, b"x")

    assert seen == watch.calls


async def test_a_settled_call_holds_on_to_nothing(colour: str) -> None:
    """A refused call leaves no cycle of frames behind: a flood of refusals is not a flood of garbage."""
    import gc
    import weakref

    class Request:
        """Something a reference can be taken of."""

    alive: list[weakref.ref[Request]] = []

    def parse(raw: bytes) -> Request:
        request = Request()
        alive.append(weakref.ref(request))
        return request

    class Forgets(Guard):
        def inspect(self, call: Call, request: Any) -> None:
            raise Refusal("MODEL_DENIED")

    async with serving(colour, Chain(Forgets()), echo, parse=parse) as served:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await served.ask("unary_unary", b"x")
            await asyncio.sleep(0.05)
            left = sum(ref() is not None for ref in alive)
        finally:
            gc.enable()

    assert len(alive) == 5
    assert left <= 1  # the last one may still be on somebody's stack
