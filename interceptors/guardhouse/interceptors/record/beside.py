"""Settles calls a little later, many at a time.

Writing a record in the middle of a call costs three times what it costs as one of many: by the time the next
call ends, the processor has forgotten how. A call that has ended is put down, and taken up within `PERIOD`,
by the event loop that served it: a thread of its own would cost more in waiting for the interpreter than in
work. Where there is no loop, the call is settled at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG, Guard, Stage

PERIOD: Final = 0.02  # seconds a call may lie
MOST: Final = 64  # calls that may lie: they are settled in one go, in which no other call is served


class Beside(Guard):
    """Stands for *guard* in a chain, and settles later what that one would settle at once.

    `flush` it when the server has stopped, before what it writes to is closed.

    Args:
        guard: Its `settle` must read nothing but the call.
    """

    stage = Stage.RECORD

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._ended: deque[Call] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that has promised to come back

    def admit(self, call: Call) -> None:
        """As the guard does."""
        self._guard.admit(call)

    def settle(self, call: Call) -> None:
        """Put the call down; or settle it with all that lie there, if they are many."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a thread of `grpc.server`
            self._guard.settle(call)
            return
        self._ended.append(call)
        if len(self._ended) >= MOST:
            self.flush()
        elif loop is not self._loop:
            self._loop = loop
            loop.call_later(PERIOD, self._come_back)

    def flush(self) -> None:
        """Settle every call that lies there."""
        while self._ended:
            try:
                call = self._ended.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                self._guard.settle(call)
            except Exception:
                LOG.exception("call %016x could not be recorded", call.span_id)

    def _come_back(self) -> None:
        self._loop = None
        self.flush()
