"""A real server of either colour around a chain, and a client for it.

A handler is written once, as an async generator over the request messages, and served in all four shapes
by `grpc.aio` (as an interceptor, and bound by `Guarded`) and by `grpc.server`, where it is driven by hand.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from guardhouse.interceptors import Call, Chain, Guard, Guarded, Refusal, Stage, aio
from guardhouse.interceptors.shells.threaded import sync

COLOURS = ("aio", "bound", "sync")
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SERVICE = "test.Echo"
TOKEN = (("authorization", "Bearer let-me-in"),)
PATIENCE = 20.0  # seconds after which a call that hangs fails its test

Behave = Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]


class Watch(Guard):
    """The record of these tests: what each settled call looked like, as plain data."""

    stage = Stage.RECORD

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.statuses: list[grpc.StatusCode | None] = []

    def settle(self, call: Call) -> None:
        self.calls.append(call)
        self.statuses.append(call.status)

    async def wait(self, most: int = 1) -> None:
        """Until *most* calls were settled: the caller may hear of the end before the record does."""
        until = time.monotonic() + PATIENCE
        while len(self.calls) < most and time.monotonic() < until:  # noqa: ASYNC110 - threads settle, too
            await asyncio.sleep(0.002)

    @property
    def last(self) -> Call:
        return self.calls[-1]

    @property
    def reason(self) -> str:
        refusal = self.last.refusal
        return refusal.reason if refusal else ""


class Token(Guard):
    """Lets in whoever says anything for `authorization`."""

    stage = Stage.TOKEN

    def admit(self, call: Call) -> None:
        if not call.values("authorization"):
            raise Refusal("TOKEN_MISSING")


async def echo(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """Every message back."""
    async for message in messages:
        yield message


async def pause(seconds: float) -> None:
    """Sleep, in whichever colour."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(seconds)  # noqa: ASYNC251 - a thread of grpc.server runs this
    else:
        await asyncio.sleep(seconds)


async def abort(context: Any, code: Any, details: str = "") -> None:
    """Abort, in whichever colour."""
    if inspect.isawaitable(waiting := context.abort(code, details)):
        await waiting


async def _once(message: Any) -> AsyncIterator[Any]:
    yield message


async def _each(messages: Iterator[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def _drive(waiting: Any) -> Any:
    """The result of a coroutine that never really waits."""
    try:
        waiting.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a handler for grpc.server waited")


def _pull(answers: Any) -> Iterator[Any]:
    try:
        while True:
            try:
                yield _drive(answers.__anext__())
            except StopAsyncIteration:
                return
    finally:
        _drive(answers.aclose())


def _aio_behaviours(behave: Behave) -> dict[str, Any]:
    async def unary(messages: Any, context: Any) -> Any:
        async with aclosing(behave(messages, context)) as answers:  # type: ignore[type-var] # a generator
            async for answer in answers:
                return answer
        return None

    async def unary_unary(request: Any, context: Any) -> Any:
        return await unary(_once(request), context)

    async def unary_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(behave(_once(request), context)) as answers:  # type: ignore[type-var] # likewise
            async for answer in answers:
                yield answer

    async def stream_unary(requests: Any, context: Any) -> Any:
        return await unary(requests, context)

    async def stream_stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(behave(requests, context)) as answers:  # type: ignore[type-var] # likewise
            async for answer in answers:
                yield answer

    return {name: value for name, value in locals().items() if name in SHAPES}


def _sync_behaviours(behave: Behave) -> dict[str, Any]:
    return {
        "unary_unary": lambda request, context: next(_pull(behave(_once(request), context)), None),
        "unary_stream": lambda request, context: _pull(behave(_once(request), context)),
        "stream_unary": lambda requests, context: next(_pull(behave(_each(requests), context)), None),
        "stream_stream": lambda requests, context: _pull(behave(_each(requests), context)),
    }


def handler(shape: str, behave: Any, parse: Any = None, render: Any = None) -> Any:
    """A method handler of grpc's."""
    return getattr(grpc, f"{shape}_rpc_method_handler")(behave, parse, render)


def handlers(colour: str, behave: Behave, parse: Any = None, render: Any = None) -> dict[str, Any]:
    """The four methods, one for each shape, all with the same behaviour."""
    functions = _sync_behaviours(behave) if colour == "sync" else _aio_behaviours(behave)
    return {shape: handler(shape, function, parse, render) for shape, function in functions.items()}


@dataclass
class Outcome:
    """What a caller saw."""

    code: grpc.StatusCode
    details: str = ""
    trailing: tuple[tuple[str, Any], ...] = ()
    messages: list[bytes] = field(default_factory=list)

    def everything(self) -> bytes:
        """All bytes that reached the caller besides the messages."""
        parts = [self.details.encode()]
        for key, value in self.trailing:
            parts += [key.encode(), value if isinstance(value, bytes) else str(value).encode()]
        return b"\n".join(parts)

    def trailer(self, key: str) -> Any:
        return dict(self.trailing).get(key)


class Serving:
    """A server that runs, and a channel to it."""

    def __init__(self, port: int, credentials: grpc.ChannelCredentials | None, server: Any) -> None:
        options = [("grpc.ssl_target_name_override", "localhost")] if credentials else []
        target = f"127.0.0.1:{port}"
        self.port = port
        self.server = server
        if credentials:
            self.channel = grpc.aio.secure_channel(target, credentials, options=options)
            self.threaded = grpc.secure_channel(target, credentials, options=options)
        else:
            self.channel = grpc.aio.insecure_channel(target)
            self.threaded = grpc.insecure_channel(target)

    def start(self, shape: str, messages: Any, metadata: Any = TOKEN, **extra: Any) -> Any:
        """Begin a call; *messages* is bytes for a method that takes one message, else a list or iterator."""
        name, path = extra.pop("caller", shape), extra.pop("path", f"/{SERVICE}/{shape}")
        extra.setdefault("timeout", PATIENCE)
        return getattr(self.channel, name)(path)(messages, metadata=metadata, **extra)

    async def ask(self, shape: str, *messages: bytes, metadata: Any = TOKEN, **extra: Any) -> Outcome:
        """Make a call to its end.

        By grpc's threaded client: the other says "Internal error from Core" of one stream in eight that a
        server, any server, ends before it has read the messages.
        """
        return await asyncio.to_thread(self._ask, shape, messages, metadata, extra)

    def _ask(self, shape: str, messages: tuple[bytes, ...], metadata: Any, extra: dict[str, Any]) -> Outcome:
        name, path = extra.pop("caller", shape), extra.pop("path", f"/{SERVICE}/{shape}")
        given: Any = iter(messages) if name.startswith("stream") else messages[0]
        method = getattr(self.threaded, name)(path)
        got: list[bytes] = []
        extra = {"timeout": PATIENCE, **extra}
        try:
            if name.endswith("stream"):
                call = method(given, metadata=metadata, **extra)
                for message in call:
                    got.append(message)  # noqa: PERF402 - what came before an error counts
            else:
                answer, call = method.with_call(given, metadata=metadata, **extra)
                got.append(answer)
        except grpc.RpcError as error:
            call = error
        return Outcome(call.code(), call.details() or "", tuple(call.trailing_metadata() or ()), got)

    async def close(self) -> None:
        await self.channel.close()
        self.threaded.close()


async def finish(call: Any) -> Outcome:
    """What comes of a call that was started."""
    got: list[bytes] = []
    try:
        if hasattr(call, "__aiter__"):
            async for message in call:
                got.append(message)  # noqa: PERF401 - what came before an error counts
        else:
            got.append(await call)
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()), got)
    except asyncio.CancelledError:
        return Outcome(grpc.StatusCode.CANCELLED)
    return Outcome(await call.code(), await call.details(), tuple(await call.trailing_metadata()), got)


@asynccontextmanager
async def serving(
    colour: str,
    chain: Chain,
    behave: Behave = echo,
    *,
    methods: dict[str, Any] | None = None,
    parse: Any = None,
    render: Any = None,
    credentials: tuple[grpc.ServerCredentials, grpc.ChannelCredentials] | None = None,
    options: tuple[tuple[str, Any], ...] = (),
    extra: tuple[Any, ...] = (),
    **server_options: Any,
) -> AsyncIterator[Serving]:
    """Serve *behave* (or *methods*) behind *chain* until the block ends; then no call is under way.

    Args:
        extra: Interceptors behind the chain.
    """
    known = handlers(colour, behave, parse, render) if methods is None else methods
    usual = {"grpc.so_reuseport": 0, "grpc.max_receive_message_length": 100_000}
    every = list({**usual, **dict(options)}.items())
    generic = grpc.method_handlers_generic_handler(SERVICE, known)
    pool = ThreadPoolExecutor(8)
    server: Any
    if colour == "sync":
        server = grpc.server(pool, interceptors=[sync(chain), *extra], options=every, **server_options)
    elif colour == "aio":
        server = grpc.aio.server(interceptors=[aio(chain), *extra], options=every, **server_options)
    else:
        generic = Guarded(chain, {f"/{SERVICE}/{name}": found for name, found in known.items()})
        server = grpc.aio.server(options=every, **server_options)
    server.add_generic_rpc_handlers((generic,))
    theirs, ours = credentials or (None, None)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, theirs) if theirs else server.add_insecure_port(address)
    started: Any = server.start()
    if started is not None:
        await started
    serves = Serving(port, ours, server)
    try:
        yield serves
    finally:
        await serves.close()
        await stop(colour, server)
        await asyncio.to_thread(pool.shutdown)
        del server, serves
        gc.collect()


async def stop(colour: str, server: Any, grace: float | None = None) -> None:
    """Stop a server of either colour."""
    if colour == "sync":
        event = server.stop(grace) if grace is not None else await asyncio.to_thread(server.stop, None)
        await asyncio.to_thread(event.wait)
    else:
        await server.stop(grace)
