"""The audit ledger: entries are chained and queued in microseconds, and written by a thread of its own.

    ledger = Ledger(Path("ledger"), durability="strict")
    sequence = ledger.append({"kind": "query", ...})
    await ledger.committed(sequence)

What a line is, is in `chain`; how files are checked, in `verify`. One process writes one folder: the newest
lines are in ``ledger.jsonl``, earlier ones in files set aside. Entries are never dropped silently: while the
disk refuses them they are kept in memory and ``healthy`` is False; past ``limit_bytes``, `append` raises; and
what was lost is told by an entry of kind ``gap``.
"""

import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from .anchor import disagreement, read_anchor
from .chain import (
    GENESIS,
    KEYED,
    PLAIN,
    ROTATION,
    Digest,
    Link,
    Scheme,
    digest_by,
    encode,
    key_name,
    link_of,
    parse,
    scheme_of,
    stamp,
)
from .file import LedgerError, LedgerFile, Opened
from .keeper import Keeper, Upkeep
from .keys import Signer, secret
from .queue import LedgerFull, LineQueue
from .rotation import Limits
from .writer import Writer

__all__ = ["Ledger", "LedgerError", "LedgerFull", "LedgerWriteError"]

Durability = Literal["buffered", "strict"]
_log = logging.getLogger(__name__)


class LedgerWriteError(LedgerError):
    """The line could not be written at the first try. It is kept, and written when the disk is back."""


class Ledger:
    """Open, or create, the ledger in *folder*. Raises LedgerError, in one line, where that cannot be done.

    *durability* "buffered": on disk *flush_seconds* and one fsync after `append`, or after the write that was
    under way then; "strict": at once, in groups.
    *key*: the secret of an HMAC-SHA256 chain, at least 32 bytes; b"" for a plain SHA-256 chain.
    *signer*: signs a checkpoint every 10,000 lines, every minute, at the start and at `close`.
    *anchor*: a file outside that is given the head every second; a ledger that is behind it is not opened.
    *rotation*: how large and old a file may become.
    *limit_bytes*: lines waiting in memory. *stall_seconds*: a write that takes longer is trouble.
    *clock* gives seconds since the epoch; *fsync* takes a file descriptor.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: Durability = "buffered",
        key: bytes = b"",
        signer: Signer | None = None,
        anchor: Path | None = None,
        rotation: Limits = Limits(),  # noqa: B008 - a value
        flush_seconds: float = 0.05,
        limit_bytes: int = 64 << 20,
        stall_seconds: float = 5.0,
        fsync: Callable[[int], None] = os.fsync,
        clock: Callable[[], float] = time.time,
    ) -> None:
        scheme = _scheme(key, signer)
        digest = digest_by(key)
        file = LedgerFile(folder, fsync=fsync, stamp=lambda: stamp(clock()))
        opened = _open(file)
        try:
            link = _checked(folder, opened, scheme, digest, anchor)
            self._queue = LineQueue(link, digest, limit_bytes)
            keeper = Keeper(self._queue, Upkeep(scheme, signer, rotation, anchor, clock, fsync))
            gather = flush_seconds if durability == "buffered" else 0.0
            self._writer = Writer(self._queue, file, opened, keeper, digest, gather)
        except BaseException:
            file.close()
            raise
        self.strict = durability == "strict"
        self._stall_seconds = stall_seconds
        self._began = link.sequence
        self._writer.start()
        atexit.register(self._close_at_exit)

    def append(self, entry: Mapping[str, object]) -> int:
        """Chain *entry* and queue it for the disk, from any thread. Its sequence number.

        Raises ValueError if it brings ``seq`` or ``prev``, LedgerFull, or LedgerError after `close`.
        """
        return self._queue.put((encode(entry),))

    def append_many(self, bodies: Sequence[bytes]) -> int:
        """The same for many, all or none: *bodies* as `chain.encode` makes them. The last one's number."""
        return self._queue.put(bodies)

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

    @property
    def head(self) -> Link:
        """The newest line on disk, number and hash: noted elsewhere, it shows what was cut off. No I/O."""
        return self._writer.landed

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Block until line *sequence* is on disk: True. False after *timeout* seconds, or if a try failed."""
        return self._writer.waiters.wait(sequence, timeout)

    async def committed(self, sequence: int) -> None:
        """Return once line *sequence* is on disk. Raises LedgerWriteError if a try failed."""
        if not await self._writer.waiters.committed(sequence):
            raise LedgerWriteError("the ledger line could not be written")

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and stop; idempotent. Raises LedgerError if lines are left after *timeout* s."""
        first = self._queue.close()
        ended = self._writer.stop(timeout)
        self._writer.waiters.close()  # also where a disk that never answers still holds the writer
        atexit.unregister(self._close_at_exit)
        if first and (self.lag or not ended):
            raise LedgerError(f"{self.lag} ledger lines could not be written: {self.trouble}")

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except LedgerError as error:
            _log.error("%s", error)


def _scheme(key: bytes, signer: Signer | None) -> Scheme:
    if key:
        try:
            secret(key)
        except ValueError as error:
            raise LedgerError(f"the ledger's key {error}") from None
    return Scheme(KEYED if key else PLAIN, key_name(key), signer.public if signer else "")


def _open(file: LedgerFile) -> Opened:
    try:
        return file.open()
    except OSError as error:
        raise LedgerError(f"cannot open the ledger {file.path}: {error.strerror}") from error


def _checked(folder: Path, opened: Opened, scheme: Scheme, digest: Digest, anchor: Path | None) -> Link:
    """The end of the chain that was found. Raises LedgerError where it is not one to go on with."""
    first = parse(opened.first)
    if first and first.entry.get("kind") in (GENESIS, ROTATION):
        found = scheme_of(first.entry)
        for what, ours, theirs in zip(("scheme", "key", "signing key"), scheme, found, strict=True):
            if ours != theirs:
                raise LedgerError(
                    f"the ledger in {folder} was begun with another {what}: a chain keeps its own;"
                    " move the folder away to begin a new one"
                )
    link = link_of(opened.last, digest)
    try:
        complaint = disagreement(link, read_anchor(anchor)) if anchor else ""
    except ValueError as error:
        raise LedgerError(f"the ledger's anchor {anchor} {error}") from None
    except OSError as error:
        raise LedgerError(f"cannot read the ledger's anchor {anchor}: {error.strerror}") from error
    if complaint:
        raise LedgerError(f"the ledger in {folder} is not what its anchor {anchor} says: {complaint}")
    return link
