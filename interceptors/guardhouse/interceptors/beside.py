"""Settles calls beside the event loop, many at a time.

Writing a record in the middle of a call costs three times what it costs as one of a hundred: by the time the
next call ends, the processor has forgotten how. So a call that has ended is put down, and taken up within
`PERIOD` by a thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from .call import Call
from .chain import LOG, Guard, Stage
from .refusal import Refusal

PERIOD: Final = 0.02  # seconds a call may lie
MOST: Final = 100_000  # calls that may lie; by then something keeps the thread from its work
GULP: Final = 32  # calls settled before others get their turn at the interpreter


class Beside(Guard):
    """Stands for *guard* in a chain, and settles in a thread what that one would settle at once.

    Args:
        guard: Its `settle` must be fit for another thread, and read nothing but the call.
    """

    stage = Stage.RECORD

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._ended: deque[Call] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guardhouse-record", daemon=True)
        self._thread.start()

    def admit(self, call: Call) -> None:
        """As the guard does; and refuse what could only be recorded too late."""
        if len(self._ended) >= MOST:
            raise Refusal("LEDGER_UNAVAILABLE", "too many calls wait to be recorded", retry_after=1.0)
        self._guard.admit(call)

    def settle(self, call: Call) -> None:
        """Put the call down."""
        self._ended.append(call)

    def close(self) -> None:
        """Settle what is there, and end the thread. No call may end after this."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(PERIOD):
            self._settle_all()
        self._settle_all()

    def _settle_all(self) -> None:
        while self._ended:
            for _ in range(min(GULP, len(self._ended))):
                self._settle(self._ended.popleft())
            time.sleep(0)

    def _settle(self, call: Call) -> None:
        try:
            self._guard.settle(call)
        except Exception:
            LOG.exception("call %016x could not be recorded", call.span_id)
