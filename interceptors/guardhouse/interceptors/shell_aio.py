"""The shell that drives a chain in `grpc.aio`.

Every shape of RPC runs through one coroutine that reads nothing before the call is admitted: grpc is given
a request-streaming handler without serializers, and the message is received, parsed and judged here.
So a caller who is turned away never has its message decompressed or parsed, exceptions of serializers
stay inside, and every answer leaves through one place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

import grpc
import grpc.aio

from .call import CURRENT, Call
from .chain import Chain, failed, verdict
from .refusal import Refusal
from .service_context import Said, ServiceContext
from .shapes import Target, Targets, cut_off, late, overdue, parse, render, target, trailers

END = grpc.aio.EOF
ENDING = (KeyboardInterrupt, GeneratorExit)  # the process or its loop is ending, not the call
GRACE = 0.05  # seconds for the cancellation that follows a write that failed


class _Aborted(grpc.aio.AbortError):
    """What `context.abort` raises behind the chain; the refusal it stands for is already noted."""


class GuardedContext(ServiceContext):
    """The servicer context as code behind the chain sees it.

    Messages read and written pass the chain; aborts and codes are noted and sent by the passage; the
    caller's credentials are not shown.
    """

    __slots__ = ("_passage",)

    def __init__(self, passage: Passage, context: Any) -> None:
        super().__init__(passage.call, passage.said, context)
        self._passage = passage

    async def read(self) -> Any:
        """The next request message, inspected, or `grpc.aio.EOF`."""
        return await self._passage.next_request()

    async def write(self, message: Any) -> None:
        """Send a response message, as far as the chain lets it out."""
        await self._passage.write(message)

    async def abort(self, code: Any, details: str | None = "", trailing_metadata: Any = ()) -> None:
        """End the call with *code*."""
        self._passage.stopped = self._said.aborted(code, details, trailing_metadata)
        raise _Aborted

    async def abort_with_status(self, status: Any) -> None:
        """End the call with a `grpc.Status`."""
        await self.abort(status.code, status.details, status.trailing_metadata)


class Passage:
    """One RPC on its way through the chain, in the form in which grpc calls a method handler."""

    __slots__ = ("_chain", "_context", "_target", "call", "said", "stopped")

    request_streaming = True
    response_streaming = False
    request_deserializer = None
    response_serializer = None
    unary_unary = None
    unary_stream = None

    def __init__(self, chain: Chain, call: Call, target: Target | None) -> None:
        self._chain = chain
        self._target = target
        self._context: Any = None
        self.call = call
        self.said = Said()
        self.stopped: Refusal | None = None  # what ended the call, though the handler may have swallowed it

    async def stream_unary(self, _requests: Any, context: Any) -> bytes:
        """Carry one call to its record and its end; returns the answer of a unary method."""
        self._context = context
        answer, refusal = b"", None
        try:
            answer = await self._run()
        except ENDING:
            raise
        except BaseException as error:
            refusal = self._left() if leaving() else self.stopped or verdict(error, self.call)
        else:
            refusal = self._left() if leaving() else None
        self._chain.settle(self.call, refusal)
        await self._end(refusal)
        return answer

    stream_stream = stream_unary

    async def _end(self, refusal: Refusal | None) -> None:
        """Tell the caller. Also one who seems to have left: a model can cancel the call's own task."""
        last = trailers(self.call, refusal, self.said.trailing)
        if refusal is not None:
            await self._context.abort(refusal.code, refusal.words, last)
        self._context.set_trailing_metadata(last)

    def _left(self) -> Refusal:
        """Why grpc cancelled the call: too long, too large, or the caller left."""
        if late(self.call.remaining, self._context.time_remaining()):
            return Refusal("DEADLINE_EXCEEDED")
        return self.stopped if self.stopped and self.stopped.reason == "TOO_LARGE" else Refusal("CANCELLED")

    async def _run(self) -> bytes:
        call, context = self.call, self._context
        call.peer = context.peer()
        call.auth = context.auth_context()
        call.remaining = context.time_remaining()
        renew(call)
        self._chain.admit(call)
        if self._target is None:
            raise Refusal("METHOD_UNKNOWN")
        CURRENT.set(call)
        if call.patience is None:
            return await self._serve(self._target)
        patience = asyncio.timeout(call.patience)
        try:
            async with patience:
                return await self._serve(self._target)
        finally:
            if patience.expired():  # whatever the handler made of being cancelled
                raise Refusal("DEADLINE_EXCEEDED", "our own limit")

    async def _serve(self, target: Target) -> bytes:
        request = self._requests() if target.takes_stream else await self._only_request()
        answer = await self._behave(target, request)
        if stopped := self.stopped or self.said.refusal():
            raise stopped
        if target.gives_stream:
            return b""
        return render(target, self.call, self._chain.release(self.call, answer))

    async def _behave(self, target: Target, request: Any) -> Any:
        """Run the service's function; whatever it raises becomes a refusal in fixed words."""
        guarded = GuardedContext(self, self._context)
        started = time.monotonic_ns()
        try:
            if target.style == "coroutine":
                return await target.behave(request, guarded)
            if target.style == "generator":
                return await self._stream(target, request, guarded)
            raise TypeError("a grpc.aio server needs async handlers")
        except (Refusal, grpc.aio.AbortError, *ENDING):
            raise
        except BaseException as error:  # a model that exits, or cancels its own work, must not end ours
            if leaving():
                raise
            hidden = failed(self.call, error)
            raise self.said.refusal() or hidden from error
        finally:
            self.call.model_ns = time.monotonic_ns() - started

    async def _stream(self, target: Target, request: Any, guarded: GuardedContext) -> None:
        async with aclosing(target.behave(request, guarded)) as responses:
            async for response in responses:
                await self.write(response)

    def _go_on(self) -> Target:
        """What stopped the call stops every further message, also for a handler that swallows it."""
        if self.stopped is None and overdue(self.call):
            self.stopped = Refusal("DEADLINE_EXCEEDED", "our own limit")
        if self.stopped is not None:
            raise self.stopped
        if self.call.closed or self._target is None:
            raise Refusal("CANCELLED", "the call has ended")
        return self._target

    async def write(self, response: Any) -> None:
        """Send one message of a response stream, as far as the chain lets it out."""
        target, call = self._go_on(), self.call
        renew(call)
        try:
            if not target.gives_stream:
                raise TypeError("a method with one answer returns it")
            raw = render(target, call, self._chain.release(call, response))
        except Exception as error:
            self.stopped = verdict(error, call)
            raise self.stopped from None
        try:
            await self._context.write(raw)
        except Exception as error:
            await asyncio.sleep(GRACE)  # the cancellation that says why comes by another way
            self.stopped = Refusal("CANCELLED", type(error).__name__)
            raise self.stopped from None

    async def next_request(self) -> Any:
        """The next request message, parsed and inspected, or `END`."""
        target, call = self._go_on(), self.call
        raw = await self._context.read()
        if raw is END:
            await self._end_of_requests(target)
            return END
        if call.requests:
            renew(call)
        try:
            message = parse(target, call, raw)
            self._chain.inspect(call, message)
        except Exception as error:
            self.stopped = verdict(error, call)
            raise self.stopped from None
        return message

    async def _end_of_requests(self, target: Target) -> None:
        """Tell the end of the messages from a call that was cut off: grpc shows one as the other.

        Read on: whatever cut the call off is heard before the second end.
        """
        try:
            await self._context.read()
        except asyncio.CancelledError:
            self.stopped = cut_off(target)
            raise

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self.next_request()) is not END:
            yield message

    async def _only_request(self) -> Any:
        message = await self.next_request()
        if message is END:
            self.stopped = Refusal("MESSAGE_MISSING")
            raise self.stopped
        return message


class StreamingPassage(Passage):
    """The same for a method that answers with a stream: its messages have left by `write`."""

    __slots__ = ()
    response_streaming = True


def renew(call: Call) -> None:
    """Tell the guards what time it is."""
    call.now = time.monotonic()
    call.wall = time.time()


def leaving() -> bool:
    """Whether somebody cancelled this RPC, rather than a model its own work."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def begin(chain: Chain, details: Any) -> Call:
    """Open a call for *details* and see that it is settled, whatever becomes of it.

    The task that runs the RPC calls back when it is done, also where no handler ever ran: headers cut off
    at the metadata limit, too many concurrent RPCs, a server that stops.
    """
    call = chain.open(details.method, details.invocation_metadata, known=False)

    def done(_task: object) -> None:
        if not call.closed:
            chain.settle(call, Refusal("CANCELLED", "never dispatched"))

    cast("asyncio.Task[object]", asyncio.current_task()).add_done_callback(done)
    return call


def passage(chain: Chain, call: Call, target: Target | None) -> Passage:
    """The handler that grpc is to call, for *target* or for a method that is not there."""
    call.known = target is not None
    kind = StreamingPassage if target is not None and target.gives_stream else Passage
    return kind(chain, call, target)


def _broken(error: Exception) -> Target:
    """A method that fails: what an interceptor or a handler table behind the chain leaves us with."""

    async def fail(_request: Any, _context: Any) -> None:
        raise error

    return Target(fail, True, False, "coroutine", bytes, bytes)


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._targets = Targets()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        call = begin(self._chain, details)
        try:
            target = self._targets.of(details.method, await continuation(details))
        except Exception as error:
            target = _broken(error)
        return passage(self._chain, call, target)


def aio(chain: Chain) -> grpc.aio.ServerInterceptor:
    """The chain as an interceptor for anybody's server: `grpc.aio.server(interceptors=[aio(chain)])`."""
    return _Interceptor(chain)


class Guarded(grpc.GenericRpcHandler):
    """Method handlers with the chain bound to them: what our own server registers, and nothing else.

    Saves grpc's interceptor machinery; a method that is not there is still guarded and recorded.
    """

    def __init__(self, chain: Chain, handlers: Mapping[str, Any]) -> None:
        self._chain = chain
        self._targets = {method: target(handler) for method, handler in handlers.items()}
        if plain := [method for method, found in self._targets.items() if found.style == "plain"]:
            raise TypeError(f"a grpc.aio server needs async handlers: {', '.join(plain)}")

    def service(self, handler_call_details: Any) -> Any:
        """The passage for one RPC."""
        call = begin(self._chain, handler_call_details)
        return passage(self._chain, call, self._targets.get(call.method))
