"""What a caller may see, what a handler may see, and what grpc can carry."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode as Code
from grpc_status import rpc_status

from guardhouse.interceptors import Call, Chain, Guard, Guarded, Refusal, Stage

from .serving import COLOURS, SHAPES, Outcome, Watch, abort, echo, finish, handler, serving

CANARY = "canary-7f3a"
pytestmark = pytest.mark.parametrize("colour", COLOURS)


class Leaky(Guard):
    """Raises the canary at one verb, bare or in the note of a refusal."""

    def __init__(self, verb: str, error: BaseException) -> None:
        self._verb, self._error = verb, error

    def _fail(self, verb: str) -> None:
        if self._verb == verb:
            raise self._error

    def admit(self, call: Call) -> None:
        self._fail("admit")

    def inspect(self, call: Call, request: Any) -> None:
        self._fail("inspect")

    def release(self, call: Call, response: Any) -> Any:
        self._fail("release")
        return response

    def settle(self, call: Call) -> None:
        self._fail("settle")


def _raises(_: Any) -> Any:
    raise ValueError(CANARY)


async def _model_raises(messages: Any, context: Any) -> Any:
    async for _ in messages:
        raise RuntimeError(CANARY)
    yield b""


async def _model_raises_after(messages: Any, context: Any) -> Any:
    async for message in messages:
        yield message
        raise RuntimeError(CANARY)


async def _model_aborts_privately(messages: Any, context: Any) -> Any:
    async for _ in messages:
        context.set_trailing_metadata(())
        await abort(context, Code.INTERNAL, CANARY)
    yield b""


async def _model_aborts_with_rich_status(messages: Any, context: Any) -> Any:
    async for _ in messages:
        status = rpc_status.to_status(status_pb2.Status(code=13, message=CANARY))
        waiting = context.abort_with_status(status)
        if waiting is not None:
            await waiting
    yield b""


class Debugging(NamedTuple):
    """A `grpc.Status` whose metadata says too much."""

    code: Code = Code.INTERNAL
    details: str = "broken"
    trailing_metadata: tuple[tuple[str, str], ...] = (("x-debug", CANARY),)


async def _model_aborts_with_metadata(messages: Any, context: Any) -> Any:
    async for _ in messages:
        waiting = context.abort_with_status(Debugging())
        if waiting is not None:
            await waiting
    yield b""


async def _model_says_more_then_raises(messages: Any, context: Any) -> Any:
    async for _ in messages:
        context.set_trailing_metadata((("grpc-status-details-bin", CANARY.encode()),))
        raise RuntimeError(CANARY)
    yield b""


PLANTED: dict[str, dict[str, Any]] = {
    "model": {"behave": _model_raises},
    "model, after a message": {"behave": _model_raises_after},
    "model's abort": {"behave": _model_aborts_privately},
    "model's rich status": {"behave": _model_aborts_with_rich_status},
    "metadata of the model's abort": {"behave": _model_aborts_with_metadata},
    "rich status before an exception": {"behave": _model_says_more_then_raises},
    "parser": {"parse": _raises},
    "serializer": {"render": _raises},
    **{f"guard's {verb}": {"guard": Leaky(verb, ValueError(CANARY))} for verb in ("admit", "inspect")},
    **{f"guard's {verb}": {"guard": Leaky(verb, KeyError(CANARY))} for verb in ("release", "settle")},
    "refusal's note": {"guard": Leaky("inspect", Refusal("MODEL_DENIED", CANARY))},
    "refusal nobody knows": {"guard": Leaky("admit", KeyError(CANARY))},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("where", PLANTED)
async def test_no_text_of_an_exception_reaches_the_caller(colour: str, shape: str, where: str) -> None:
    """Planted anywhere, the canary is in no byte of details and metadata; UNKNOWN is never said."""
    planted = dict(PLANTED[where])
    guards = [guard] if (guard := planted.pop("guard", None)) else []
    async with serving(colour, Chain(*guards), planted.pop("behave", echo), **planted) as served:
        call = served.start(shape, [b"x"] if shape.startswith("stream") else b"x")
        outcome = await finish(call)
        initial = await call.initial_metadata()

    assert outcome.code != Code.UNKNOWN
    assert CANARY.encode() not in outcome.everything()
    assert CANARY not in str(initial)


async def test_credentials_are_kept_from_the_handler(colour: str) -> None:
    """A handler sees the caller's metadata but neither credentials nor keys that are ours to set."""
    seen: list[Any] = []

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            seen.extend(context.invocation_metadata())
            yield message

    metadata = (
        ("authorization", "Bearer secret"),
        ("authorization", "Bearer other"),
        ("guardhouse-principal", "spiffe://acme/admin"),
        ("guardhouse-principal-bin", b"admin"),
        ("x-forwarded-client-cert", "By=spiffe://acme/admin"),
        ("x-tenant", "blue"),
        ("x-tenant", "red"),
    )
    async with serving(colour, Chain(), model) as served:
        await served.ask("unary_unary", b"x", metadata=metadata)
    ours = [(item.key, item.value) for item in seen if item.key != "user-agent"]

    assert ours == [("x-tenant", "blue"), ("x-tenant", "red")]


class Adds(Guard):
    """A guard with something to say in the trailers."""

    stage = Stage.RATE

    def admit(self, call: Call) -> None:
        call.trailers = (*call.trailers, ("ratelimit", "r=1"))


async def _says(messages: Any, context: Any) -> Any:
    async for message in messages:
        context.set_trailing_metadata((("x-first", "gone"),))
        context.set_trailing_metadata((("x-model", "digits"), ("x-model-bin", b"\x00\xff")))
        assert ("x-model", "digits") in context.trailing_metadata()
        if message == b"abort":
            await abort(context, Code.NOT_FOUND, "none")
        yield message


@pytest.mark.parametrize("message", [b"x", b"abort"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_trailers_of_handler_and_chain_both_arrive(colour: str, shape: str, message: bytes) -> None:
    """What a handler sets last and what the chain adds reach the caller, with an answer as with an abort."""
    async with serving(colour, Chain(Adds()), _says) as served:
        outcome = await served.ask(shape, message)

    assert outcome.code == (Code.OK if message == b"x" else Code.NOT_FOUND)
    assert outcome.trailer("x-model") == "digits"
    assert outcome.trailer("x-model-bin") == b"\x00\xff"
    assert outcome.trailer("ratelimit") == "r=1"
    assert len(outcome.trailer("guardhouse-trace-id")) == 32
    assert outcome.trailer("x-first") is None


async def test_a_rich_status_of_the_service_passes(colour: str) -> None:
    """A service that says more with `grpc_status` is heard, as long as its code is not private."""

    async def model(messages: Any, context: Any) -> Any:
        async for _ in messages:
            status = status_pb2.Status(code=5, message="no such cat")
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason="CAT", domain="zoo"))
            waiting = context.abort_with_status(rpc_status.to_status(status))
            if waiting is not None:
                await waiting
        yield b""

    watch = Watch()
    async with serving(colour, Chain(watch), model) as served:
        outcome = await served.ask("unary_unary", b"x")

    assert (outcome.code, outcome.details, watch.statuses) == (
        Code.NOT_FOUND,
        "no such cat",
        [Code.NOT_FOUND],
    )
    assert b"zoo" in outcome.trailer("grpc-status-details-bin")


WORDS = {
    "long": "x" * 50_000,
    "long and foreign": "猫" * 20_000,
    "surrogates": "a\udcffb",
    "percent signs": "%" * 20_000,
    "none": None,
}


@pytest.mark.parametrize("words", WORDS)
async def test_words_that_grpc_cannot_carry(colour: str, words: str) -> None:
    """A handler's words are cut to what the caller can read: trailers over 8 KiB would hide the status."""

    async def model(messages: Any, context: Any) -> Any:
        async for _ in messages:
            context.set_trailing_metadata([(f"x-{number}", "y" * 500) for number in range(40)])
            await abort(context, Code.NOT_FOUND, WORDS[words])  # type: ignore[arg-type] # None is the point
        yield b""

    async with serving(colour, Chain(Adds()), model) as served:
        outcome = await served.ask("unary_unary", b"x")

    assert outcome.code == Code.NOT_FOUND
    assert outcome.details
    assert _size(outcome) < 8192
    assert outcome.trailer("ratelimit") == "r=1"


def _size(outcome: Outcome) -> int:
    """Bytes of the trailers, as HTTP/2 counts them, with base64 and percent-encoding."""
    pairs = sum(len(key) + len(value) * 4 // 3 + 32 for key, value in outcome.trailing)
    return pairs + sum(1 if " " <= char <= "~" else 3 * len(char.encode()) for char in outcome.details)


async def test_a_guards_long_words(colour: str) -> None:
    """A refusal whose words are long still arrives with its own code."""
    chain = Chain(Leaky("admit", Refusal("RATE_LIMITED", say="猫" * 20_000, retry_after=1.0004)))
    async with serving(colour, chain) as served:
        outcome = await served.ask("unary_unary", b"x")

    assert outcome.code == Code.RESOURCE_EXHAUSTED
    assert outcome.trailer("grpc-retry-pushback-ms") == "1001"  # never too early
    assert _size(outcome) < 8192


ILLEGAL = [("Bad-Key", "x"), ("x-value", "a\nb"), ("x-value", "é"), ("x-value", b"\xff"), ("x-bin", "text")]
ILLEGAL += [("retries", 5), ("x-three", "b", "c"), "nothing"]


@pytest.mark.parametrize("pair", ILLEGAL)
async def test_trailers_that_are_not_legal(colour: str, pair: tuple[str, Any]) -> None:
    """One illegal pair of a handler's is left out; it does not cost the caller the answer."""

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            context.set_trailing_metadata((pair, ("x-good", "y")))
            yield message

    async with serving(colour, Chain(), model) as served:
        outcome = await served.ask("unary_unary", b"x")

    assert (outcome.code, outcome.messages, outcome.trailer("x-good")) == (Code.OK, [b"x"], "y")
    assert len(outcome.trailing) == 2


@pytest.mark.parametrize("shape", SHAPES)
async def test_nobody_asks_grpc_after_the_call(colour: str, shape: str) -> None:
    """Peer and transport are read before the handler runs; afterwards plain data answers for grpc."""
    kept: list[Any] = []

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            kept.append(context)
            yield message

    class Asks(Guard):
        stage = Stage.RECORD

        def settle(self, call: Call) -> None:
            kept.append((call.peer, dict(call.auth), call.metadata))

    async with serving(colour, Chain(Asks()), model) as served:
        await served.ask(shape, b"x")
        await asyncio.sleep(0.02)
        context, (peer, auth, metadata) = kept
        # On grpcio 1.81 and later either of these ends the process if it reaches grpc.
        assert context.peer() == peer
        # What it weighs is let go of at the end.
        assert auth
        assert context.auth_context() == {}
        assert metadata
        assert context.invocation_metadata() == ()

    assert peer.startswith("ipv4:127.0.0.1:")


async def test_a_plain_handler_in_aio(colour: str) -> None:
    """A threaded handler on grpc.aio hangs on cancel: it is refused, where we can at once."""
    if colour == "sync":
        pytest.skip("there, plain handlers are right")
    methods = {"unary_unary": handler("unary_unary", lambda request, context: request)}
    if colour == "bound":
        with pytest.raises(TypeError, match="async handlers"):
            Guarded(Chain(), methods)
        return
    async with serving(colour, Chain(), methods=methods) as served:
        outcome = await served.ask("unary_unary", b"x")

    assert outcome.code == Code.INTERNAL


async def test_a_model_that_cancels_the_call_itself(colour: str) -> None:
    """The caller hears of it at once: a cancellation that escapes would leave it waiting for its deadline."""
    if colour == "sync":
        pytest.skip("threads have no task to cancel")

    async def model(messages: Any, context: Any) -> Any:
        async for _ in messages:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
        yield b""

    watch = Watch()
    async with serving(colour, Chain(watch), model) as served:
        call = served.start("unary_unary", b"x")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

    assert caught.value.code() == Code.CANCELLED
    assert watch.statuses == [Code.CANCELLED]
