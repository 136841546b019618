"""Who waits for which ledger line to be on disk: threads, and coroutines on any number of event loops."""

import asyncio
from contextlib import suppress
from threading import Condition

Future = asyncio.Future[bool]


class Waiters:
    """Told by the writer's thread how far the disk is. A group that landed costs one call into each loop."""

    def __init__(self, landed: int) -> None:
        self._changed = Condition()
        self._landed = landed  # the highest sequence number that is on disk
        self._failures = 0  # tries that failed
        self._closed = False
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[int, Future]]] = {}

    def wait(self, sequence: int, timeout: float | None) -> bool:
        """Block until line *sequence* is on disk: True. False if a try fails, or after *timeout* s."""
        with self._changed:
            failures = self._failures
            self._changed.wait_for(
                lambda: self._landed >= sequence or self._failures != failures or self._closed, timeout
            )
            return self._landed >= sequence

    async def committed(self, sequence: int) -> bool:
        """True once line *sequence* is on disk, False as soon as a try fails."""
        if self._landed >= sequence:
            return True
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        with self._changed:
            if self._landed >= sequence or self._closed:
                return self._landed >= sequence
            self._waiting.setdefault(loop, []).append((sequence, future))
        return await future

    def land(self, sequence: int) -> None:
        """All lines up to *sequence* are on disk."""
        with self._changed:
            self._landed = sequence
            due = self._take(sequence)
            self._changed.notify_all()
        _tell(due, True)

    def fail(self, sequence: int) -> None:
        """The lines up to *sequence* could not be written, for now."""
        with self._changed:
            self._failures += 1
            due = self._take(sequence)
            self._changed.notify_all()
        _tell(due, False)

    def close(self) -> None:
        """Nothing more will land: nobody waits any longer."""
        with self._changed:
            self._closed = True
            due, self._waiting = self._waiting, {}
            self._changed.notify_all()
        _tell({loop: [future for _, future in waiting] for loop, waiting in due.items()}, False)

    def _take(self, sequence: int) -> dict[asyncio.AbstractEventLoop, list[Future]]:
        """Those who wait for a line up to *sequence*, by their loops."""
        due = {}
        for loop, waiting in list(self._waiting.items()):
            due[loop] = [future for number, future in waiting if number <= sequence]
            rest = [each for each in waiting if each[0] > sequence]
            if rest:
                self._waiting[loop] = rest
            else:
                del self._waiting[loop]
        return due


def _tell(due: dict[asyncio.AbstractEventLoop, list[Future]], landed: bool) -> None:
    for loop, futures in due.items():
        with suppress(RuntimeError):  # the loop may be gone
            if futures:
                loop.call_soon_threadsafe(_settle, futures, landed)


def _settle(futures: list[Future], landed: bool) -> None:
    for future in futures:
        if not future.done():  # its caller may have left
            future.set_result(landed)
