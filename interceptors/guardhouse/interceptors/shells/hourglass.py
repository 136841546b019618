"""Ends calls that take too long, with one timer for all of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

TICK: Final = 0.1  # seconds: how late a call may be ended
AGAIN: Final = 1.0  # seconds until one that swallows its end is told once more


class Hourglass:
    """Cancels tasks of one event loop whose time is up. A timer for each call costs twenty times as much."""

    __slots__ = ("_ends", "_running", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._running = False

    def turn(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Give *task* so many *seconds* from now."""
        self._ends[task] = self.loop.time() + seconds
        if not self._running:
            self._running = True
            self.loop.call_later(min(seconds, TICK), self._look)

    def stop(self, task: asyncio.Task[Any]) -> None:
        """Let *task* be: it has ended."""
        self._ends.pop(task, None)

    def _look(self) -> None:
        now = self.loop.time()
        for task in [task for task, end in self._ends.items() if end <= now]:
            self._ends[task] = now + AGAIN
            if not task.cancel():  # it is done
                del self._ends[task]
        self._running = bool(self._ends)
        if self._running:
            self.loop.call_later(TICK, self._look)


class _Here(threading.local):
    glass: Hourglass | None = None


_HERE = _Here()


def hourglass() -> Hourglass:
    """The one of the running loop: a process may run several, in turn or each in its thread."""
    loop = asyncio.get_running_loop()
    glass = _HERE.glass
    if glass is None or glass.loop is not loop:
        glass = _HERE.glass = Hourglass(loop)
    return glass
