"""What waits in memory: bounded in spans and in bytes, taken by the batch."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, NamedTuple

BATCH_BYTES: Final = 3 * 2**20  # collectors take requests of 4 MiB, if nobody told them otherwise


class Part(NamedTuple):
    """Some spans, encoded.

    Attributes:
        content: Concatenated `ScopeSpans.spans` fields of ours; or one whole `ScopeSpans` of another scope.
        spans: How many.
        ours: Which of the two.
    """

    content: bytes
    spans: int
    ours: bool


class Queue:
    """Parts in the order in which they came. No method waits for anything but the others.

    `full` is set while a whole batch waits, `high` while the queue is more than half full; both for good
    once it is stopped.

    Args:
        spans: How many may wait.
        size: How many bytes they may have.
        batch: Spans that are taken at once.
    """

    def __init__(self, spans: int, size: int, batch: int) -> None:
        self.full, self.high = threading.Event(), threading.Event()
        self._room = spans, size
        self._batch = batch
        self._lock = threading.Lock()
        self._parts: deque[Part] = deque()
        self._spans = self._size = 0
        self._stopped = False

    def put(self, part: Part) -> bool:
        """Add *part*, if there is room."""
        with self._lock:
            spans, size = self._spans + part.spans, self._size + len(part.content)
            if self._stopped or spans > self._room[0] or size > self._room[1]:
                return False
            self._parts.append(part)
            self._spans, self._size = spans, size
            if self._is_full() and not self.full.is_set():
                self.full.set()
            if self._is_high() and not self.high.is_set():
                self.high.set()
            return True

    def take(self) -> list[Part]:
        """The oldest parts: about a batch, and no more bytes than a request may have; but at least one."""
        taken: list[Part] = []
        spans = size = 0
        with self._lock:
            while self._parts and spans < self._batch:
                if taken and size + len(self._parts[0].content) > BATCH_BYTES:
                    break
                taken.append(self._parts.popleft())
                spans += taken[-1].spans
                size += len(taken[-1].content)
            self._spans -= spans
            self._size -= size
            self._lower()
        return taken

    def stop(self) -> None:
        """Take nothing in from now on; what is there can still be taken."""
        with self._lock:
            self._stopped = True
            self.full.set()
            self.high.set()

    def _is_full(self) -> bool:
        return self._spans >= self._batch or self._size >= BATCH_BYTES

    def _is_high(self) -> bool:
        return self._spans * 2 > self._room[0] or self._size * 2 > self._room[1]

    def _lower(self) -> None:
        if self._stopped:
            return
        if not self._is_full():
            self.full.clear()
        if not self._is_high():
            self.high.clear()
