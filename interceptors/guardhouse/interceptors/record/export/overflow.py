"""Where spans go that cannot stay in memory: to the spool, if there is one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from .queue import Part, Queue
from .spool import Spool
from .tally import Tally

LOG: Final = logging.getLogger("guardhouse.export")
RETRY: Final = 1.0  # seconds until a spool that took nothing is tried again


class Overflow:
    """Moves the oldest batches to *spool* while *queue* is more than half full; a thread's work.

    Args:
        around: Makes a request of parts.
    """

    def __init__(
        self, spool: Spool | None, around: Callable[[Sequence[Part]], bytes], queue: Queue, tally: Tally
    ) -> None:
        self.spool = spool
        self.full = False  # the spool took nothing when it was last asked
        self._around, self._queue, self._tally = around, queue, tally
        self._closing = threading.Event()

    def waits(self) -> bool:
        """Whether there is something on the disk."""
        return self.spool is not None and self.spool.oldest() is not None

    def run(self) -> None:
        """Relieve the queue until closed."""
        while self._queue.high.wait() and not self._closing.is_set():
            if parts := self._queue.take():
                self._move(self._around(parts), sum(part.spans for part in parts))

    def close(self) -> None:
        """Let `run` come to its end, as soon as the queue has been stopped."""
        self._closing.set()

    def keep(self, request: bytes, spans: int) -> None:
        """Put queued *spans* on the disk, in one try; without a spool, or room in it, they are lost."""
        if self.spool is None:
            self._tally.lost(spans, "shutdown", "queued")
        elif self._put(self.spool, request, spans):
            self._tally.spooled(spans)
        else:
            self._tally.lost(spans, "spool_full", "queued")

    def _move(self, request: bytes, spans: int) -> None:
        """Put *spans* on the disk as soon as it takes them; the queue may fill up meanwhile."""
        while self.spool and not self._put(self.spool, request, spans):
            if self._closing.wait(RETRY):
                self._tally.lost(spans, "spool_full", "queued")
                return
        self._tally.spooled(spans)

    def _put(self, spool: Spool, request: bytes, spans: int) -> bool:
        was_full = self.full
        try:
            self.full = not spool.put(request, spans)
            why = "it is full"
        except OSError as error:
            self.full = True
            why = error.strerror or str(error)
        if self.full and not was_full:
            LOG.warning("the spool takes no spans: %s", why)
        return not self.full
