"""The shell that drives a chain in `grpc.server`, the threaded one.

The same way as in `aio`: nothing is read before the call is admitted, everything is parsed and
rendered here. Threads cannot be interrupted, so a deadline or a caller that leaves is noticed between
messages and when the handler returns, not in the middle of its work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from guardhouse.interceptors.call import CURRENT, Call
from guardhouse.interceptors.chain import Chain, failed, verdict
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Pending

from .end import End
from .service_context import NOTHING_SAID, Said
from .shapes import Target, Targets, cut_off, late, overdue, parse, render, time_left, trailers, waited
from .threaded_context import Aborted, GuardedContext

ENDING = (KeyboardInterrupt, GeneratorExit)  # the process or the generator is ending, not the call
GRACE = 0.05  # seconds for grpc to say that a call it has cut off is over
HANDLER = "the handler"  # works for its call until it has returned
NO_DEADLINE = 1e9  # grpc.server says 9.2e18 seconds where the caller set none


class Passage:
    """One RPC on its way through the chain, in the form in which grpc calls a method handler."""

    request_streaming = True
    request_deserializer = None
    response_serializer = None
    unary_unary = None
    unary_stream = None

    def __init__(self, chain: Chain, call: Call, target: Target | None) -> None:
        self._chain = chain
        self._target = target
        self.context: Any = None
        self._messages: Iterator[bytes] = iter(())
        self._ended = End()
        self.response_streaming = target is not None and target.gives_stream
        self.call = call
        self.said: Said = NOTHING_SAID
        self.stopped: Refusal | None = None

    def __del__(self) -> None:
        """A passage that grpc dropped without running it (too many concurrent RPCs) is settled too.

        Nothing refers to it in a circle: this runs where grpc drops it, never inside of the ledger's lock.
        """
        if not self.call.closed:
            self._chain.settle(self.call, Refusal("CANCELLED", "never dispatched"))

    def stream_unary(self, messages: Iterator[bytes], context: Any) -> bytes:
        """Carry one call whose answer is one message."""
        answer, refusal = b"", None
        try:
            target = self._enter(messages, context)
            response = self._behave(target)
            self.stopped = self.stopped or self.said.refusal()
            self._go_on()
            answer = render(target, self.call, self._chain.release(self.call, response))
        except ENDING:
            raise
        except BaseException as error:
            refusal = self.stopped or verdict(error, self.call)
        finally:
            self._returned()
        self._end(refusal)
        return answer

    def stream_stream(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Carry one call whose answer is a stream."""
        refusal = None
        try:
            yield from self._stream(self._enter(messages, context))
            refusal = self.stopped or self.said.refusal()
        except GeneratorExit:
            self._chain.settle(self.call, self._left() or Refusal("CANCELLED"))
            raise
        except ENDING:
            raise
        except BaseException as error:
            refusal = self.stopped or verdict(error, self.call)
        finally:
            self._returned()
        self._end(refusal)

    def _enter(self, messages: Iterator[bytes], context: Any) -> Target:
        """Admit the call; only then is there a method to run."""
        call = self.call
        self.context, self._messages = context, messages
        remaining = context.time_remaining()
        call.remaining = _given(call, remaining)
        if not context.add_callback(self._ended):  # it ended while it waited for a thread
            self._ended()
            raise Refusal("CANCELLED")
        call.now, call.wall = time.monotonic(), time.time()  # it may have waited for a thread
        call.peer = context.peer()
        call.auth = context.auth_context()
        self._decided(self._chain.admit(call))
        if self._target is None:
            raise Refusal("METHOD_UNKNOWN")
        CURRENT.set(call)
        return self._target

    def _returned(self) -> None:
        """The handler has returned, maybe long after the end of the chain had settled the call."""
        if self.call.work is not None:
            self.call.work.let_go(HANDLER)

    def _end(self, refusal: Refusal | None) -> None:
        refusal = self._left() or refusal
        self._chain.settle(self.call, refusal)
        if (strict := self._chain.strict) is not None:
            refusal = strict.wait(self.call) or refusal
        self.context.set_trailing_metadata(trailers(self.call, refusal, self.said.trailing))
        if refusal is not None:
            self.context.abort(refusal.code, refusal.words)

    def _left(self) -> Refusal | None:
        """Why grpc ended the call before we did, if it has."""
        if not self._ended.happened.is_set():
            return None
        if late(self.call.remaining, self.context.time_remaining()):
            return Refusal("DEADLINE_EXCEEDED")
        return self.stopped if self.stopped and self.stopped.reason == "TOO_LARGE" else Refusal("CANCELLED")

    def _go_on(self) -> Target:
        """What stopped the call stops every further message, also for a handler that swallows it."""
        call = self.call
        if self.stopped is None and call.closed:
            self.stopped = Refusal("CANCELLED", "the call has ended")
        if self.stopped is None and overdue(call):
            self.stopped = Refusal("DEADLINE_EXCEEDED", "our own limit")
        if self.stopped is not None or self._target is None:
            raise self.stopped or Refusal("CANCELLED")
        return self._target

    def _behave(self, target: Target) -> Any:
        """Run the service's function; whatever it raises becomes a refusal in fixed words."""
        request = self._requests() if target.takes_stream else self._only_request()
        return self._model(target.behave, request, GuardedContext(self))

    def _model(self, step: Callable[..., Any], *given: Any) -> Any:
        """One step of the service's own code."""
        call = self.call
        # Below 0 while it runs: who settles the call meanwhile can tell. Waiting is no time of the model.
        call.model_ns += call.queue_ns - time.monotonic_ns()
        try:
            return step(*given)
        except (Refusal, Aborted, StopIteration, *ENDING):
            raise
        except BaseException as error:  # a model that exits must not take the thread with it
            hidden = failed(self.call, error)
            raise self.said.refusal() or hidden from error
        finally:
            if not call.closed:
                call.model_ended(time.monotonic_ns())

    def _stream(self, target: Target) -> Iterator[bytes]:
        responses = iter(self._behave(target))
        try:
            while True:
                try:
                    response = self._model(next, responses)
                except StopIteration:
                    return
                self._go_on()
                self._decided(self._chain.again(self.call, incoming=False))
                raw = render(target, self.call, self._chain.release(self.call, response))
                if self.call.responses == 1:
                    self._begin_answer()
                self._pause()
                yield raw
                self._resume()
        finally:
            if close := getattr(responses, "close", None):
                close()

    def _pause(self) -> None:
        for pause in self._chain.pauses:
            pause(self.call)

    def _resume(self) -> None:
        try:
            self._decided(self._chain.resume(self.call))
        except Refusal as refusal:  # also for a handler that swallows it
            self.stopped = refusal
            raise

    def _begin_answer(self) -> None:
        """See that the stream is on record before its first message leaves, where the ledger is strict."""
        if (strict := self._chain.strict) is not None:
            strict.begin(self.call)
            self.stopped = strict.wait(self.call)
            self._go_on()

    def _next_request(self) -> Any:
        """The next request message, parsed and inspected. StopIteration when there is none."""
        target, call = self._go_on(), self.call
        self._pause()
        try:
            raw = next(self._messages)
        finally:
            self._resume()
        try:
            if call.requests or waited(call):
                self._chain.again(call, incoming=True)
            message = parse(target, call, raw)
            self._decided(self._chain.inspect(call, message))
            if call.work is not None:
                call.work.hold(HANDLER)
            call.raw = b""
        except Exception as error:
            self.stopped = verdict(error, call)
            raise self.stopped from None
        return message

    def _decided(self, pending: Pending | None) -> None:
        """Wait for the guards that have not decided yet."""
        while pending is not None:
            if pending.turn is not None:
                self._ended.wait_for(pending.turn, time_left(self.call, pending.within))
                if overdue(self.call):
                    raise Refusal("DEADLINE_EXCEEDED", "our own limit")
            self._chain.finish(pending)
            if self._ended.happened.is_set():
                raise Refusal("CANCELLED", "the call ended while it waited")
            pending = self._chain.go_on(pending)

    def _requests(self) -> Iterator[Any]:
        while True:
            try:
                message = self._next_request()
            except StopIteration:
                self._end_of_requests()
                return
            except grpc.RpcError:  # not an end: what was sent so far must not pass for the whole
                raise self._cut_off() from None
            yield message

    def _only_request(self) -> Any:
        try:
            return self._next_request()
        except StopIteration:
            self._end_of_requests()
            raise Refusal("MESSAGE_MISSING") from None
        except grpc.RpcError:
            raise self._cut_off() from None

    def _end_of_requests(self) -> None:
        """Tell the end of the messages from a call that was cut off: see `aio`."""
        try:
            next(self._messages, None)
        except grpc.RpcError:
            raise self._cut_off() from None

    def _cut_off(self) -> Refusal:
        self._ended.happened.wait(GRACE)
        self.stopped = cut_off(self._go_on())
        return self.stopped


def _given(call: Call, remaining: float | None) -> float | None:
    """Seconds from its opening that the caller of *call* gave us, of which *remaining* are left: it may have
    waited for a thread since. None where it set no deadline."""
    if remaining is None or remaining > NO_DEADLINE:
        return None
    return remaining if remaining <= 0 else remaining + (time.monotonic_ns() - call.opened_ns) * 1e-9


class _Interceptor(grpc.ServerInterceptor):
    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._targets = Targets()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Runs on the one thread that serves: opens the call, does nothing that could wait."""
        details = handler_call_details
        call = self._chain.open(details.method, details.invocation_metadata, known=False)
        try:
            target = self._targets.of(details.method, continuation(details))
        except Exception as error:
            target = _broken(error)
        call.known = target is not None
        return Passage(self._chain, call, target)


def _broken(error: Exception) -> Target:
    """A method that fails: what an interceptor or a handler table behind the chain leaves us with."""

    def fail(_request: Any, _context: Any) -> None:
        raise error

    return Target(fail, True, False, "plain", bytes, bytes)


def sync(chain: Chain) -> grpc.ServerInterceptor:
    """The chain as an interceptor for anybody's server: `grpc.server(pool, interceptors=[sync(chain)])`."""
    return _Interceptor(chain)
