"""The end of the chain, and the lines that wait for the disk behind it."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Lock

from .chain import Digest, Link, bind
from .file import LedgerError


class LedgerFull(LedgerError):  # noqa: N818 - it names a state, as queue.Full does
    """Too many lines wait for the disk; these entries were not taken. A later gap entry counts them."""


class LineQueue:
    """Chains entries in the order in which they come, from any thread; holds the lock for microseconds."""

    def __init__(self, link: Link, digest: Digest, limit_bytes: int) -> None:
        self.link = link  # the newest line, on disk or not
        self.wake = Event()  # set when a line comes to an empty queue
        self.since = 0.0  # monotonic; when the first of the waiting lines came
        self.lines: list[bytes] = []
        self._digest = digest
        self._lock = Lock()
        self._limit = limit_bytes
        self._held = 0  # bytes put and not yet on disk
        self._refused = 0
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether more bytes wait than are allowed."""
        return self._held > self._limit

    def put(self, bodies: Sequence[bytes]) -> int:
        """Chain *bodies*, encoded entries; the last one's number. Raises LedgerFull, LedgerError."""
        with self._lock:
            if self._closed:
                raise LedgerError("the ledger is closed")
            if self._held > self._limit:
                self._refused += len(bodies)
                raise LedgerFull("too many ledger lines wait for the disk")
            return self._chain(bodies)

    def put_own(self, make: Callable[[Link], bytes]) -> int:
        """Chain an entry of the ledger's own, also when full or closed; *make* is given the line before."""
        with self._lock:
            return self._chain([make(self.link)])

    def take(self) -> list[bytes]:
        """All lines that wait, without newlines; they still count as held."""
        with self._lock:
            lines, self.lines = self.lines, []
            return lines

    def release(self, lines: Sequence[bytes]) -> int:
        """These *lines* are on disk. How many entries were refused since the last release."""
        with self._lock:
            self._held -= _size(lines)
            refused, self._refused = self._refused, 0
            return refused

    def close(self) -> bool:
        """Take no more entries. Whether this was the first call."""
        with self._lock:
            first, self._closed = not self._closed, True
            return first

    def _chain(self, bodies: Sequence[bytes]) -> int:
        lines, self.link = bind(bodies, self.link, self._digest)
        self._held += _size(lines)
        if self.lines:
            self.lines += lines
        else:
            self.lines, self.since = lines, time.monotonic()
            self.wake.set()
        return self.link.sequence


def _size(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)
