"""`Guard`: one concern. `Chain`: guards in order, compiled once. No I/O, no colour."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Iterable
from concurrent.futures import CancelledError
from enum import IntEnum
from typing import Any, ClassVar

from grpc import StatusCode

from .call import NOTHING_KNOWN, Call, Metadata
from .refusal import Refusal
from .verbs import Pending, ask, bound, said_by
from .work import CALL

LOG = logging.getLogger("guardhouse")
_LOW = (1 << 64) - 1


class Stage(IntEnum):
    """Where a guard stands, outermost first. A chain out of this order does not compile."""

    RECORD = 0
    DEADLINE = 1
    IDENTITY = 2
    TOKEN = 3
    AUTHORIZATION = 4
    RATE = 5
    VALIDATION = 6
    MODEL_AUTHORIZATION = 7
    BUDGET = 8
    ADMISSION = 9
    SCREENING = 10
    OUTPUT = 11


class Guard:
    """One concern. Override what you need; never wait, never do I/O. To refuse, raise `Refusal`.

    `admit`, `inspect`, `resume`, and `again` for what goes out, may raise `Later` instead, where the answer
    is not at hand.
    """

    stage: ClassVar[Stage] = Stage.SCREENING
    strict: ClassVar[bool] = False  # nothing is answered before this guard says that it has landed
    open_methods: Collection[str] | None = None  # what needs no credential, if that is its to know

    def admit(self, call: Call) -> None:
        """Decide before any message is read."""

    def inspect(self, call: Call, request: Any) -> None:
        """Decide about each request message, parsed."""

    def again(self, call: Call, incoming: bool) -> None:
        """Decide once more, before each message of a stream but the first request, whichever way it goes;
        and before a first request, of a stream or not, that was long in coming: `call.requests` is 0 then.

        What was true when the call was admitted may be so no longer; `call.now` and `call.wall` are new.
        """

    def pause(self, call: Call) -> None:
        """The service waits for its caller: for its next message, or for it to take one."""

    def resume(self, call: Call) -> None:
        """It goes on."""

    def release(self, call: Call, response: Any) -> Any:
        """Return what may leave in place of each response message."""
        return response

    def settle(self, call: Call) -> None:
        """Give back, charge, record: once, whatever happened. `call.status` is set."""


class Chain:
    """Guards in order. Its verbs run theirs; a verb that a guard leaves alone costs nothing.

    Args:
        guards: Outermost first.
        open_methods: Paths (`/package.Service/Method`) that need no credential. If None, those that
            every guard that knows of any agrees on: what the policy of a `MethodAuthorization` lists as open.

    Raises:
        ValueError: The guards are not in the order of `Stage`.
        TypeError: A verb is not a plain function.
    """

    def __init__(self, *guards: Guard, open_methods: Iterable[str] | None = None) -> None:
        stages = [guard.stage for guard in guards]
        if stages != sorted(stages):
            order = " -> ".join(f"{type(guard).__name__} ({guard.stage.name})" for guard in guards)
            message = f"guards out of order: {order}; wanted: {' -> '.join(stage.name for stage in Stage)}"
            raise ValueError(message)
        self.guards = guards
        if open_methods is None:
            known = [set(guard.open_methods) for guard in guards if guard.open_methods is not None]
            open_methods = set.intersection(*known) if known else ()
        self.open_methods = frozenset(open_methods)
        self.strict: Any = next((guard for guard in guards if guard.strict), None)
        self.under_way: set[Call] = set()  # calls that were opened and have not been settled
        self._over = False
        self._admits = bound(guards, Guard, "admit")
        self._inspects = bound(guards, Guard, "inspect")
        self._agains = bound(guards, Guard, "again")
        self.pauses = bound(guards, Guard, "pause")
        self._resumes = bound(guards, Guard, "resume")
        self._releases = bound(reversed(guards), Guard, "release")
        self._settles = bound(reversed(guards), Guard, "settle")
        self._random = random.Random().getrandbits  # seeded by the operating system

    def open(self, method: str, metadata: Metadata, *, known: bool) -> Call:
        """Begin the record of one RPC, before anything about it can fail.

        The ids are random and unique, not secret: a caller may quote them.
        """
        wall_ns, opened_ns = time.time_ns(), time.monotonic_ns()
        call = Call(method, metadata or (), known, wall_ns, opened_ns)
        call.wall, call.now = wall_ns * 1e-9, opened_ns * 1e-9
        if method in self.open_methods:
            call.open = True
        ids = self._random(192)
        call.trace_id, call.span_id = ids >> 64 | 1, ids & _LOW | 1
        self.under_way.add(call)
        return call

    def admit(self, call: Call) -> Pending | None:
        """Run every guard's `admit`; the first `Refusal` ends it. Not decided yet if it is pending."""
        if self._over:
            raise Refusal("LEDGER_UNAVAILABLE", "the guard was closed before its server")
        return ask(self._admits, call)

    def inspect(self, call: Call, request: Any) -> Pending | None:
        """Run every guard's `inspect`; see `admit`."""
        return ask(self._inspects, call, request)

    def again(self, call: Call, *, incoming: bool) -> Pending | None:
        """Tell the guards what time it is, and run every guard's `again`; see `admit`."""
        call.now, call.wall = time.monotonic(), time.time()
        pending = ask(self._agains, call, incoming)
        if pending is not None and incoming:
            raise TypeError("a guard may wait for what is in a message, not before it is read")
        return pending

    def resume(self, call: Call) -> Pending | None:
        """Run every guard's `resume`; see `admit`. Before it, each of *pauses* was called."""
        return ask(self._resumes, call)

    def finish(self, pending: Pending) -> None:
        """Do what waits. Blocks; raises the guard's `Refusal`."""
        try:
            pending.finish()
        except Refusal as refusal:
            raise said_by(pending.guard, refusal) from None
        except CancelledError:
            raise Refusal("CANCELLED", "the call ended before its turn") from None

    def go_on(self, pending: Pending) -> Pending | None:
        """Run the verbs of the guards behind the one that has finished."""
        return ask(pending.rest, *pending.about)

    def release(self, call: Call, response: Any) -> Any:
        """Pass *response* through every guard's `release`, innermost first.

        Nothing leaves any more of a call that has its record.
        """
        if call.closed:
            raise Refusal("CANCELLED")
        for release in self._releases:
            try:
                response = release(call, response)
            except Refusal as refusal:
                raise said_by(release.__self__, refusal) from None
        return response

    def settle(self, call: Call, refusal: Refusal | None) -> None:
        """Close the call: once, innermost guard first. A guard that fails here stops no other."""
        if call.closed:
            return
        call.closed = True
        self.under_way.discard(call)
        call.ended_ns = time.monotonic_ns()
        if call.model_ns < 0:  # the model still runs: `model_ns` holds when it began
            call.model_ended(call.ended_ns)
        if refusal is not None:
            # The frames it came through hold the caller's message, and it holds them.
            refusal.__traceback__ = refusal.__cause__ = refusal.__context__ = None
            call.refusal = refusal
        call.status = refusal.code if refusal else StatusCode.OK
        for settle in self._settles:
            try:
                settle(call)
            except Exception:
                LOG.exception("a guard failed to settle call %016x", call.span_id)
        if call.work is not None:
            call.work.let_go(CALL)
        call.raw, call.auth = b"", NOTHING_KNOWN  # a record may lie for a while: it holds no message
        call.metadata = tuple(kv for kv in call.metadata if kv[0] == "traceparent")

    def end(self) -> None:
        """Settle every call that is under way, and admit no other: whatever comes yet, this is their record.

        When `stop` of a grpc.aio server returns, the tasks of the calls it has cancelled are yet to run; and
        threads of a grpc.server cannot be cancelled at all. Their ends come after the ledger was closed.
        """
        self._over = True
        for call in tuple(self.under_way):
            self.settle(call, Refusal("CANCELLED", "the server stopped"))


def verdict(error: BaseException, call: Call) -> Refusal:
    """What an error on the way through the chain means for the caller: a refusal, or our bug."""
    return error if isinstance(error, Refusal) else _hidden("INTERNAL", error, call)


def failed(call: Call, error: BaseException) -> Refusal:
    """What an error of the service behind the chain means for the caller."""
    return _hidden("MODEL_FAILED", error, call)


def _hidden(reason: str, error: BaseException, call: Call) -> Refusal:
    """A refusal in fixed words; what happened goes to the operator's log under the call's id."""
    LOG.error("call %016x to %s: %s", call.span_id, call.method, reason, exc_info=error)
    return Refusal(reason, type(error).__name__)
