"""One call on its way through the chain in `grpc.aio`.

Every shape of RPC runs through one coroutine that reads nothing before the call is admitted: grpc is given
a request-streaming handler without serializers, and the message is received, parsed and judged here.
So a caller who is turned away never has its message decompressed or parsed, exceptions of serializers
stay inside, and every answer leaves through one place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, suppress
from typing import Any, cast

import grpc.aio

from guardhouse.interceptors.call import CURRENT, Call
from guardhouse.interceptors.chain import Chain, failed, verdict
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Pending

from .aio_context import GuardedContext
from .aio_waiting import decided
from .hourglass import watch
from .service_context import NOTHING_SAID, Said
from .shapes import Target, cut_off, late, overdue, parse, render, trailers, waited

END = grpc.aio.EOF
ENDING = (KeyboardInterrupt, GeneratorExit)  # the process or its loop is ending, not the call
GRACE = 0.05  # seconds for the cancellation that follows a write that failed


class Passage:
    """One RPC on its way through the chain, in the form in which grpc calls a method handler."""

    __slots__ = (
        *("_chain", "_in_model", "_on_record", "_target", "_task", "_watched"),
        *("call", "context", "response_streaming", "said", "stopped"),
    )

    request_streaming = True
    request_deserializer = None
    response_serializer = None
    unary_unary = None
    unary_stream = None

    def __init__(self, chain: Chain, details: Any, target: Target | None = None) -> None:
        self.call = chain.open(details.method, details.invocation_metadata, known=target is not None)
        self._chain = chain
        self._target = target
        self.response_streaming = target is not None and target.gives_stream
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.context: Any = None
        self._in_model = False
        self._on_record = chain.strict is None  # messages of a stream may leave
        self._watched: dict[Call, asyncio.Task[Any]] | None = None  # where the call is, while it has a limit
        self.said: Said = NOTHING_SAID
        self.stopped: Refusal | None = None  # what ended the call, though the handler may have swallowed it

    def towards(self, target: Target | None) -> Passage:
        """The same, now that it is known where it leads: to *target*, or to a method that is not there."""
        self._target = target
        self.call.known = target is not None
        self.response_streaming = target is not None and target.gives_stream
        return self

    def __del__(self) -> None:
        """A passage that grpc dropped without running it to its end is settled too: headers cut off at the
        metadata limit, too many concurrent RPCs, a loop that ends.

        By the loop, not here: the garbage collector may call this in the middle of anything, also of what
        holds the ledger's lock. Where the loop is closed, the end of the chain settles it.
        """
        if not self.call.closed:
            refusal = Refusal("CANCELLED", "never dispatched" if self.context is None else "broken off")
            with suppress(RuntimeError):
                self._task.get_loop().call_soon_threadsafe(self._chain.settle, self.call, refusal)
        if self._watched is not None:
            self._watched.pop(self.call, None)

    async def stream_unary(self, _requests: Any, context: Any) -> bytes:
        """Carry one call to its record and its end; returns the answer of a unary method.

        All of it in one coroutine: for a unary call, whatever it awaited would cost it dear.
        """
        answer, refusal = b"", None
        try:
            if (pending := self._admit(context)) is not None:
                await self._decided(pending)
            target = self._enter()
            request: Any = self._requests() if target.takes_stream else await context.read()
            if request is END:
                await self._end_of_requests(target)
                raise Refusal("MESSAGE_MISSING")
            if not target.takes_stream:
                request, pending = self._judge(target, request)
                if pending is not None:
                    await self._decided(pending)
                    self.call.raw = b""
            self._model_begins()
            response: Any = None
            if target.style == "generator":
                await self._stream(target, request)
            else:
                response = await target.behave(request, GuardedContext(self))
            self._model_ends()
            answer = self._finish(target, response)
        except ENDING:
            raise
        except BaseException as error:
            refusal = self._why(error)
        else:
            refusal = self._left() if self._task.cancelling() else None
        self._settle(refusal)
        if (strict := self._chain.strict) is not None:
            refusal = await self._landed(strict) or refusal
        await self._end(refusal)
        return answer

    stream_stream = stream_unary

    def _admit(self, context: Any) -> Pending | None:
        """Have the call admitted; what is not decided about that yet."""
        call = self.call
        self.context = context
        call.peer = context.peer()
        call.auth = context.auth_context()
        call.remaining = context.time_remaining()
        pending = self._chain.admit(call)
        if call.patience is not None:
            self._watched = watch(call, self._task)
        return pending

    def _enter(self) -> Target:
        """The method to run, now that there is one for this caller."""
        if self._target is None:
            raise Refusal("METHOD_UNKNOWN")
        if self._target.style == "plain":
            raise TypeError("a grpc.aio server needs async handlers")
        CURRENT.set(self.call)
        return self._target

    def _judge(self, target: Target, raw: bytes) -> tuple[Any, Pending | None]:
        """The message in *raw*, if it may pass; and what is not decided about that yet."""
        call = self.call
        if call.requests or waited(call):
            self._chain.again(call, incoming=True)
        message = parse(target, call, raw)
        pending = self._chain.inspect(call, message)
        if pending is None:
            call.raw = b""
        return message, pending

    async def _decided(self, pending: Pending | None) -> None:
        while pending is not None:
            await decided(self._chain, self._task, pending)
            pending = self._chain.go_on(pending)

    def _model_begins(self) -> None:
        self._in_model = True
        self.call.model_ns = self.call.queue_ns - time.monotonic_ns()  # it waited before

    def _model_ends(self) -> None:
        if self._in_model:
            self._in_model = False
            if not self.call.closed:
                self.call.model_ended(time.monotonic_ns())

    def _settle(self, refusal: Refusal | None) -> None:
        if self._watched is not None:
            self._watched.pop(self.call, None)
        self._chain.settle(self.call, refusal)

    def _finish(self, target: Target, response: Any) -> bytes:
        """The bytes of a unary answer, if nothing speaks against it."""
        if self.said is not NOTHING_SAID:
            self.stopped = self.stopped or self.said.refusal()
        if self.stopped is not None:
            raise self.stopped
        if target.gives_stream:
            return b""
        return render(target, self.call, self._chain.release(self.call, response))

    def _why(self, error: BaseException) -> Refusal:
        """What *error* means for the caller. A model's becomes a refusal in fixed words, whatever it is:
        one that exits, or cancels its own work, must not end ours."""
        in_model = self._in_model
        self._model_ends()
        if self._task.cancelling():
            return self._left()
        if self.stopped is not None:
            return self.stopped
        if isinstance(error, Refusal) or not in_model:
            return verdict(error, self.call)
        hidden = failed(self.call, error)
        return self.said.refusal() or hidden

    async def _end(self, refusal: Refusal | None) -> None:
        """Tell the caller. Also one who seems to have left: a model can cancel the call's own task."""
        last = trailers(self.call, refusal, self.said.trailing)
        if refusal is not None:
            await self.context.abort(refusal.code, refusal.words, last)
        self.context.set_trailing_metadata(last)

    def _left(self) -> Refusal:
        """Why the call was cancelled: too long, too large, or the caller left."""
        if overdue(self.call):
            return Refusal("DEADLINE_EXCEEDED", "our own limit")
        if late(self.call.remaining, self.context.time_remaining()):
            return Refusal("DEADLINE_EXCEEDED")
        return self.stopped if self.stopped and self.stopped.reason == "TOO_LARGE" else Refusal("CANCELLED")

    async def _stream(self, target: Target, request: Any) -> None:
        async with aclosing(target.behave(request, GuardedContext(self))) as responses:
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
        try:
            if not target.gives_stream:
                raise TypeError("a method with one answer returns it")
            if (pending := self._chain.again(call, incoming=False)) is not None:
                await self._decided(pending)
            raw = render(target, call, self._chain.release(call, response))
        except Exception as error:
            self.stopped = verdict(error, call)
            raise self.stopped from None
        if not self._on_record:
            await self._begin_answer()
        try:
            await self._meanwhile(self.context.write(raw))
        except Refusal as refusal:  # of a guard, to go on
            self.stopped = refusal
            raise
        except Exception as error:
            await asyncio.sleep(GRACE)  # the cancellation that says why comes by another way
            self.stopped = Refusal("CANCELLED", type(error).__name__)
            raise self.stopped from None

    async def _meanwhile(self, caller: Awaitable[Any]) -> Any:
        """What comes of waiting for the *caller*; the guards are told of it."""
        if not self._chain.pauses:
            return await caller
        for pause in self._chain.pauses:
            pause(self.call)
        came = await caller
        await self._decided(self._chain.resume(self.call))
        return came

    async def _begin_answer(self) -> None:
        """See that the stream is on record before its first message leaves, where the ledger is strict.

        A handler may write several at once, or give up one that takes long: whichever comes waits.
        """
        strict = self._chain.strict
        if not self.call.line:
            strict.begin(self.call)
        if (why := await strict.landed(self.call)) is not None:
            self.stopped = why
        self._go_on()
        self._on_record = True

    async def _landed(self, strict: Any) -> Refusal | None:
        """Why the caller must not be answered, once that is known; also if the wait for it is cut off."""
        try:
            return cast("Refusal | None", await strict.landed(self.call))
        except asyncio.CancelledError:
            return cast("Refusal", strict.withhold(self.call))

    async def next_request(self) -> Any:
        """The next request message, parsed and inspected, or `END`."""
        target, call = self._go_on(), self.call
        try:
            raw = await self._meanwhile(self.context.read())
        except Refusal as refusal:
            self.stopped = refusal
            raise
        if raw is END:
            await self._end_of_requests(target)
            return END
        try:
            message, pending = self._judge(target, raw)
            if pending is not None:
                await self._decided(pending)
                call.raw = b""
        except Exception as error:
            self.stopped = verdict(error, call)
            raise self.stopped from None
        return message

    async def _end_of_requests(self, target: Target) -> None:
        """Tell the end of the messages from a call that was cut off: grpc shows one as the other.

        Read on: whatever cut the call off is heard before the second end.
        """
        try:
            await self.context.read()
        except asyncio.CancelledError:
            self.stopped = cut_off(target)
            raise

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self.next_request()) is not END:
            yield message
