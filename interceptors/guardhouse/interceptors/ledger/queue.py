"""The end of the chain, and the lines that wait for the disk behind it."""

from threading import Event, Lock

from .chain import Link, bind, digest
from .file import LedgerError


class LedgerFull(LedgerError):  # noqa: N818 - it names a state, as queue.Full does
    """Too many lines wait for the disk; this entry was not taken. A later gap entry counts those refused."""


class LineQueue:
    """Chains entries in the order in which they come, from any thread; holds the lock for microseconds."""

    def __init__(self, link: Link, limit_bytes: int) -> None:
        self.link = link  # the newest line, on disk or not
        self.wake = Event()  # set when a line comes to an empty queue
        self.lines: list[bytes] = []
        self._lock = Lock()
        self._limit = limit_bytes
        self._held = 0  # bytes put and not yet on disk
        self._refused = 0
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether more bytes wait than are allowed."""
        return self._held > self._limit

    def put(self, body: bytes) -> int:
        """Chain *body*, an encoded entry; its number. Raises LedgerFull, or LedgerError once closed."""
        with self._lock:
            if self._closed:
                raise LedgerError("the ledger is closed")
            if self._held > self._limit:
                self._refused += 1
                raise LedgerFull("too many ledger lines wait for the disk")
            return self._chain(body)

    def put_own(self, body: bytes) -> int:
        """The same for an entry of the ledger's own, also when full or closed."""
        with self._lock:
            return self._chain(body)

    def take(self) -> list[bytes]:
        """All lines that wait, with their newlines; they still count as held."""
        with self._lock:
            lines, self.lines = self.lines, []
            return lines

    def release(self, size: int) -> int:
        """*size* bytes are on disk. How many entries were refused since the last release."""
        with self._lock:
            self._held -= size
            refused, self._refused = self._refused, 0
            return refused

    def close(self) -> bool:
        """Take no more entries. Whether this was the first call."""
        with self._lock:
            first, self._closed = not self._closed, True
            return first

    def _chain(self, body: bytes) -> int:
        line = bind(body, self.link)
        self.link = Link(self.link.sequence + 1, digest(line))
        self._held += len(line) + 1
        self.lines.append(line + b"\n")
        if len(self.lines) == 1:
            self.wake.set()
        return self.link.sequence
