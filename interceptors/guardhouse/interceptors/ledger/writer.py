"""The thread that puts a ledger's lines on disk, and the file right again when it was moved, cut or full."""

import logging
import time
from threading import Event, Thread

from .chain import Digest, Link, link_of
from .file import LedgerError, LedgerFile, Opened
from .keeper import Keeper
from .queue import LineQueue
from .waiters import Waiters

_IDLE_SECONDS = 1.0  # how often a writer without work looks after its file
_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0  # seconds between tries while the disk refuses
_log = logging.getLogger(__name__)


class Writer:
    """Takes lines from *queue* to *file*. *opened* is what `LedgerFile.open` found.

    *gather_seconds* is how long a first line waits for more. The constructor writes the first lines of this
    run, and raises LedgerError where it cannot; the thread runs from `start` on.
    """

    def __init__(
        self,
        queue: LineQueue,
        file: LedgerFile,
        opened: Opened,
        keeper: Keeper,
        digest: Digest,
        gather_seconds: float,
    ) -> None:
        self._queue, self._file, self._keeper, self._digest = queue, file, keeper, digest
        self._gather_seconds = gather_seconds
        self._batch: list[bytes] = []  # taken, not yet on disk
        self._stopping = Event()
        self._deadline = 0.0
        self.landed = queue.link  # the last line known to be on disk
        self.busy_since = 0.0  # monotonic; 0 while nothing is being written
        self.trouble = ""
        self.waiters = Waiters(self.landed.sequence)
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
        """The first lines are on disk before anyone is served."""
        self._keeper.begin(opened)
        if not self._flush():
            self._file.close()
            raise LedgerError(self.trouble or f"{self._file.path} was moved while it was opened: try again")

    def _run(self) -> None:
        delay = 0.0
        while not self._stopping.is_set():
            self._pause(delay)
            delay = 0.0 if self._flush() else min(max(2 * delay, _FIRST_RETRY), _LAST_RETRY)
        self._keeper.end()
        while self._queue.lines or self._batch:
            if not self._flush():
                if time.monotonic() > self._deadline:
                    break
                time.sleep(_FIRST_RETRY)
        self._keeper.write_anchor(self.landed)
        self.waiters.close()
        self._file.close()

    def _pause(self, delay: float) -> None:
        """Wait for work; then a little, so that lines gather. In trouble: wait *delay* seconds."""
        if delay:
            self._stopping.wait(delay)
            return
        self._queue.wake.wait(_IDLE_SECONDS)
        self._queue.wake.clear()
        if self._queue.lines:
            self._stopping.wait(remaining(self._queue.since, self._gather_seconds, time.monotonic()))

    def _flush(self) -> bool:
        """Try to write all that waits. Whether it is on disk."""
        self._batch += self._queue.take()
        self.busy_since = time.monotonic()
        try:
            self._mend()
            whole = self._write()
            if whole and not self._stopping.is_set():
                self._keeper.tend(self.landed, self._file.size)
        except Exception as error:  # of whatever kind: a writer that dies would be silence
            self._fail(error)
            return False
        finally:
            self.busy_since = 0.0
        if whole:
            self.trouble = ""
        return whole

    def _mend(self) -> None:
        """Open the file anew if it is not as we left it; a gap entry then tells what was found."""
        if self._file.in_place() and self._file.untouched():
            return
        opened = self._file.open(self._batch)
        self._keeper.look_at(opened, self.landed)
        self._keeper.note_torn(opened)
        found = link_of(opened.last, self._digest)
        if found != self.landed:
            reason = "file changed by another hand" if opened.first else "earlier file gone"
            last, head = self.landed
            self._keeper.note(reason, last=last, head=head, found=found.sequence)

    def _write(self) -> bool:
        """Write the batch, in two files where one ends in it. False if a file was moved meanwhile."""
        turn = self._keeper.turn
        if turn:
            if not self._put(turn.sequence - 1 - self.landed.sequence):
                return False
            self._file.rotate(turn.name)
            self._keeper.look_at(Opened(b"", b"", None, ""), self.landed)
            self._keeper.turn = None
        return self._put(len(self._batch))

    def _put(self, count: int) -> bool:
        """Write and sync the first *count* lines of the batch, and tell all who wait for them."""
        lines = self._batch[:count]
        if lines:
            if not self._file.write(lines):
                return False
            self.landed = Link(self.landed.sequence + count, self._digest(lines[-1]))
            del self._batch[:count]
        refused = self._queue.release(lines)
        if refused:
            self._keeper.note("entries refused", entries=refused)
        self.waiters.land(self.landed.sequence)
        return True

    def _fail(self, error: Exception) -> None:
        trouble = str(error) if isinstance(error, LedgerError) else f"cannot write the ledger: {error}"
        if trouble != self.trouble:
            _log.error("%s", trouble)
        self.trouble = trouble
        self.waiters.fail(self.landed.sequence + len(self._batch))


def remaining(since: float, gather_seconds: float, now: float) -> float:
    """How long a group that began at *since* goes on gathering: it is written *gather_seconds* after that."""
    return max(0.0, since + gather_seconds - now)
