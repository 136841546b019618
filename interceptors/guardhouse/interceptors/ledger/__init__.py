"""The audit ledger: an entry is chained and queued in microseconds, and written by a thread of its own.

    ledger = Ledger(Path("ledger"), durability="strict")
    sequence = ledger.append({"kind": "query", ...})
    await ledger.committed(sequence)

What a line is, is in `ledger_chain`; how a file is checked, in `ledger_verify`. One process writes one file,
``ledger.jsonl`` in its folder. Entries are never dropped silently: while the disk refuses them they are
kept in memory and ``healthy`` is False; past ``limit_bytes``, `append` raises; and what was lost is told by
an entry of kind ``gap``.
"""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Literal

from .chain import encode, stamp
from .file import LedgerError, LedgerFile
from .queue import LedgerFull, LineQueue
from .writer import Writer

__all__ = ["Ledger", "LedgerError", "LedgerFull", "LedgerWriteError"]

_log = logging.getLogger(__name__)


class LedgerWriteError(LedgerError):
    """The line could not be written at the first try. It is kept, and written when the disk is back."""


class Ledger:
    """Open, or create, the ledger in *folder*. Raises LedgerError, in one line, where that cannot be done.

    *durability* "buffered": on disk within *flush_seconds* and one fsync; "strict": at once, in groups.
    *limit_bytes*: lines waiting in memory. *stall_seconds*: a write that takes longer is trouble.
    *clock* gives seconds since the epoch; *fsync* takes a file descriptor.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: Literal["buffered", "strict"] = "buffered",
        flush_seconds: float = 0.05,
        limit_bytes: int = 64 << 20,
        stall_seconds: float = 5.0,
        fsync: Callable[[int], None] = os.fsync,
        clock: Callable[[], float] = time.time,
    ) -> None:
        def now() -> str:
            return stamp(clock())

        file = LedgerFile(folder, fsync=fsync, stamp=now)
        try:
            opened = file.open()
        except OSError as error:
            raise LedgerError(f"cannot open the ledger {file.path}: {error.strerror}") from error
        self._stall_seconds = stall_seconds
        self._began = opened.link.sequence
        self._queue = LineQueue(opened.link, limit_bytes)
        gather = flush_seconds if durability == "buffered" else 0.0
        self._writer = Writer(self._queue, file, opened, now, gather)
        self._writer.start()
        atexit.register(self._close_at_exit)

    def append(self, entry: Mapping[str, object]) -> int:
        """Chain *entry* and queue it for the disk, from any thread. Its sequence number.

        Raises ValueError if it brings ``seq`` or ``prev``, LedgerFull, or LedgerError after `close`.
        """
        return self._queue.put(encode(entry))

    def append_many(self, bodies: Sequence[bytes]) -> int:
        """The same for entries that `encode` has made, in one go. The number of the last."""
        number = self._queue.link.sequence
        for body in bodies:
            number = self._queue.put(body)
        return number

    @property
    def healthy(self) -> bool:
        """False while lines cannot be written, or too many of them wait. No I/O."""
        writer, now = self._writer, time.monotonic()
        stalled = writer.busy_since and now - writer.busy_since > self._stall_seconds
        return not (writer.trouble or self._queue.full or stalled)

    @property
    def trouble(self) -> str:
        """What is wrong, for the operator alone: it may name files. Empty while healthy. No I/O."""
        if self._writer.trouble:
            return self._writer.trouble
        if self._queue.full:
            return "the disk is too slow: too many ledger lines wait for it"
        return "" if self.healthy else f"the disk has not answered for {self._stall_seconds:g} s"

    @property
    def sequence(self) -> int:
        """The number of the newest line, on disk or not."""
        return self._queue.link.sequence

    @property
    def written(self) -> int:
        """Lines that this writer has put on disk."""
        return self._writer.landed.sequence - self._began

    @property
    def lag(self) -> int:
        """Lines appended and not yet on disk."""
        return self._queue.link.sequence - self._writer.landed.sequence

    def flushed(
        self, sequence: int, callback: Callable[[], None], failed: Callable[[], None] | None = None
    ) -> None:
        """Call *callback*, in the writer's thread, once line *sequence* is written and fsynced.

        *failed*, if given, is called instead at the first try that fails; without it the wait goes on.
        """
        self._writer.waiters.add(sequence, callback, failed)

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Block until line *sequence* is on disk: True. False after *timeout* seconds, or if a try failed."""
        settled = Event()
        self.flushed(sequence, settled.set, settled.set)
        settled.wait(timeout)
        return self._writer.landed.sequence >= sequence

    async def committed(self, sequence: int) -> None:
        """Return once line *sequence* is on disk. Raises LedgerWriteError if a try failed."""
        future = asyncio.get_running_loop().create_future()
        self.flushed(sequence, partial(_resolve, future, True), partial(_resolve, future, False))
        if not await future:
            raise LedgerWriteError("the ledger line could not be written")

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and stop; idempotent. Raises LedgerError if lines are left after *timeout* s."""
        first = self._queue.close()
        ended = self._writer.stop(timeout)
        atexit.unregister(self._close_at_exit)
        if first and (self.lag or not ended):
            raise LedgerError(f"{self.lag} ledger lines could not be written: {self.trouble}")

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except LedgerError as error:
            _log.error("%s", error)


def _resolve(future: "asyncio.Future[bool]", landed: bool) -> None:
    """Settle *future* from the writer's thread; its loop may be gone, its caller too."""
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(_set, future, landed)


def _set(future: "asyncio.Future[bool]", landed: bool) -> None:
    if not future.done():
        future.set_result(landed)
