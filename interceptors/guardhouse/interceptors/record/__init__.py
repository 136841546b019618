"""The record of every call, whatever became of it: one set of facts for several sinks.

A call that has ended is put down, and taken up with the others that lie there within `PERIOD`, by the event
loop that served it. Writing a record in the middle of a call costs three times what it costs as one of many:
by the time the next call ends, the processor has forgotten how. A thread of its own would cost more in
waiting for the interpreter than in work. Where there is no loop, the call is recorded at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG, Guard, Stage
from guardhouse.interceptors.refusal import Refusal

PERIOD: Final = 0.02  # seconds a call may lie
SURE: Final = 0.01  # seconds for which what is healthy is taken to stay so
MOST: Final = 64  # calls that may lie: they are recorded in one go, in which no other call is served


class Sink(Protocol):
    """Where records go: the ledger, the trace, the metrics."""

    def take(self, calls: Sequence[Call]) -> None:
        """Take settled *calls*, in the order in which they ended. Never waits."""


def _always() -> bool:
    return True


class Record(Guard):
    """Outermost of all: sees every call, refused ones included.

    `flush` it when the server has stopped, before what it writes to is closed.

    Args:
        sinks: Each takes every call; one that fails costs the others nothing.
        healthy: While it says no, calls are refused before the model runs: they could not be recorded.
    """

    stage = Stage.RECORD

    def __init__(self, *sinks: Sink, healthy: Callable[[], bool] = _always) -> None:
        self._takes = tuple(sink.take for sink in sinks)
        self._healthy = healthy
        self._sure_until = 0.0  # monotonic seconds
        self._ended: list[Call] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that has promised to come back

    def admit(self, call: Call) -> None:
        """Refuse what could not be recorded."""
        if call.now < self._sure_until:
            return
        if not self._healthy():
            raise Refusal("LEDGER_UNAVAILABLE", retry_after=1.0)
        self._sure_until = call.now + SURE

    def settle(self, call: Call) -> None:
        """Put the call down; or record it with all that lie there, if they are many."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a thread of `grpc.server`
            self._record([call])
            return
        self._ended.append(call)
        if len(self._ended) >= MOST:
            self.flush()
        elif loop is not self._loop:
            self._loop = loop
            loop.call_later(PERIOD, self._come_back)

    def flush(self) -> None:
        """Record every call that lies there."""
        calls, self._ended = self._ended, []
        if calls:
            self._record(calls)

    def _come_back(self) -> None:
        self._loop = None
        self.flush()

    def _record(self, calls: Sequence[Call]) -> None:
        for take in self._takes:
            try:
                take(calls)
            except Exception:
                ids = ", ".join(f"{call.span_id:016x}" for call in calls)
                LOG.exception("a sink failed to take the calls %s", ids)
