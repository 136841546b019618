"""Ends calls that take too long, with one timer for all of them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Final

from guardhouse.interceptors.call import Call

from .shapes import overdue

TICK: Final = 0.1  # seconds: how late a call may be ended
AGAIN: Final = 1.0  # seconds until one that swallows its end is told once more


class Hourglass:
    """Cancels the tasks of one event loop whose calls are overdue.

    A timer for each call costs twenty times as much. What has ended must be let go: memory that is not
    given back at once is cold when the next call needs some.
    """

    __slots__ = ("_running", "_told", "loop", "tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: dict[Call, asyncio.Task[Any]] = {}
        self._told: dict[Call, float] = {}
        self._running = False

    def watch(self, call: Call, task: asyncio.Task[Any]) -> None:
        """Cancel *task* once *call* has taken longer than its patience."""
        self.tasks[call] = task
        if not self._running:
            self._running = True
            self.loop.call_later(TICK, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._told = {call: told for call, told in self._told.items() if call in self.tasks}
        for call in [call for call in self.tasks if overdue(call)]:
            if now - self._told.get(call, 0.0) >= AGAIN:
                self._told[call] = now
                self.tasks[call].cancel()
        self._running = bool(self.tasks)
        if self._running:
            self.loop.call_later(TICK, self._look)


class _Here(threading.local):
    glass: Hourglass | None = None


_HERE = _Here()


def watch(call: Call, task: asyncio.Task[Any]) -> dict[Call, asyncio.Task[Any]]:
    """Have the one of the running loop watch *call*: a process may run several, each in its thread.

    Returns what it watches: take the call out of there when it has ended.
    """
    loop = asyncio.get_running_loop()
    glass = _HERE.glass
    if glass is None or glass.loop is not loop:
        glass = _HERE.glass = Hourglass(loop)
    glass.watch(call, task)
    return glass.tasks
