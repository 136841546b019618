"""The thread that puts a ledger's lines on disk, and the file right again when it was moved, cut or full."""

import logging
import secrets
import time
from collections.abc import Callable
from threading import Event, Thread

from .chain import START, Link, digest, encode, gap, genesis
from .file import LedgerError, LedgerFile, Opened
from .queue import LineQueue
from .waiters import Waiters

_IDLE_SECONDS = 1.0  # how often a writer without work looks whether its file is still there
_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0  # seconds between tries while the disk refuses
_log = logging.getLogger(__name__)


class Writer:
    """Takes lines from *queue* to *file*. *opened* is what `LedgerFile.open` found; *stamp* gives the time.

    *gather_seconds* is how long a first line waits for more. The constructor writes the first line of a new
    chain, and raises LedgerError where it cannot; the thread runs from `start` on.
    """

    def __init__(
        self,
        queue: LineQueue,
        file: LedgerFile,
        opened: Opened,
        stamp: Callable[[], str],
        gather_seconds: float,
    ) -> None:
        self._queue, self._file, self._stamp = queue, file, stamp
        self._gather_seconds = gather_seconds
        self._batch: list[bytes] = []  # taken, not yet on disk
        self._stopping = Event()
        self._deadline = 0.0
        self.landed = opened.link  # the last line known to be on disk
        self.busy_since = 0.0  # monotonic; 0 while nothing is being written
        self.trouble = ""
        self.waiters = Waiters(opened.link.sequence)
        self._thread = Thread(target=self._run, name="guardhouse-ledger", daemon=True)
        self._begin(opened)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Write what waits, trying for *timeout* seconds. Whether the thread has ended."""
        if not self._stopping.is_set():
            self._deadline = time.monotonic() + timeout
            self._stopping.set()
            self._queue.wake.set()
        self._thread.join(timeout + 1)
        return not self._thread.is_alive()

    def _begin(self, opened: Opened) -> None:
        """A new chain gets its genesis entry; either is on disk before anyone is served."""
        if opened.link == START:
            self._queue.put_own(encode(genesis(secrets.token_hex(16), self._stamp())))
        self._note_torn(opened)
        if not self._flush():
            self._file.close()
            raise LedgerError(self.trouble or f"{self._file.path} was moved while it was opened: try again")

    def _run(self) -> None:
        delay = 0.0
        while not self._done():
            self._pause(delay)
            delay = 0.0 if self._flush() else min(max(2 * delay, _FIRST_RETRY), _LAST_RETRY)
        self.waiters.fail(self._queue.link.sequence)
        self._file.close()

    def _done(self) -> bool:
        if not self._stopping.is_set():
            return False
        return not (self._queue.lines or self._batch) or time.monotonic() > self._deadline

    def _pause(self, delay: float) -> None:
        """Wait for work; then a little, so that lines gather. In trouble: wait *delay* seconds."""
        if self._stopping.is_set():
            time.sleep(min(delay, _FIRST_RETRY))
        elif delay:
            self._stopping.wait(delay)
        else:
            self._queue.wake.wait(_IDLE_SECONDS)
            self._queue.wake.clear()
            if self._queue.lines and self._gather_seconds:
                self._stopping.wait(self._gather_seconds)

    def _flush(self) -> bool:
        """Try to write all that waits. Whether it is on disk."""
        self._batch += self._queue.take()
        self.busy_since = time.monotonic()
        try:
            self._mend()
            if self._batch and not self._file.write(self._batch):
                return False
        except Exception as error:  # of whatever kind: a writer that dies would be silence
            self._fail(error)
            return False
        finally:
            self.busy_since = 0.0
        self._land()
        return True

    def _mend(self) -> None:
        """Open the file anew if it is not as we left it; a gap entry then tells what was found."""
        if self._file.in_place() and self._file.untouched():
            return
        opened = self._file.open()
        self._note_torn(opened)
        if opened.link != self.landed:
            reason = "earlier file gone" if opened.link == START else "file changed by another hand"
            last, head = self.landed
            self._note(reason, last=last, head=head, found=opened.link.sequence)

    def _land(self) -> None:
        """The batch is on disk: say so to all who wait for it, and tell of entries refused meanwhile."""
        if self._batch:
            self.landed = Link(self.landed.sequence + len(self._batch), digest(self._batch[-1][:-1]))
        refused = self._queue.release(sum(map(len, self._batch)))
        self._batch, self.trouble = [], ""
        if refused:
            self._note("entries refused", entries=refused)
        self.waiters.land(self.landed.sequence)

    def _fail(self, error: Exception) -> None:
        trouble = str(error) if isinstance(error, LedgerError) else f"cannot write the ledger: {error}"
        if trouble != self.trouble:
            _log.error("%s", trouble)
        self.trouble = trouble
        self.waiters.fail(self.landed.sequence + len(self._batch))

    def _note(self, reason: str, **facts: object) -> None:
        self._queue.put_own(encode(gap(reason, self._stamp(), **facts)))

    def _note_torn(self, opened: Opened) -> None:
        if opened.torn:
            self._note("torn line cut off", bytes=opened.torn.size, kept_in=opened.torn.kept_in)
