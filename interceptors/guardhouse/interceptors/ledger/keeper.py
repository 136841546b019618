"""What a ledger writes about itself: first and last entries, checkpoints, where a file ends, its anchor."""

import logging
import os
import secrets
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from .anchor import write_anchor
from .chain import STOP, Link, Scheme, encode, gap, genesis, parse, rotation, stamp, start, stop
from .file import Opened
from .keys import Signer
from .queue import LineQueue
from .rotation import Limits, file_of, is_due, name_aside

CHECKPOINT_LINES: Final = 10_000
CHECKPOINT_SECONDS: Final = 60.0
ANCHOR_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Turn(NamedTuple):
    """The line, by its number, that begins a new file, and the *name* that the file before it gets."""

    sequence: int
    name: str


class Upkeep(NamedTuple):
    """What a ledger does beside writing lines. *clock* gives seconds since the epoch."""

    scheme: Scheme
    signer: Signer | None
    limits: Limits
    anchor: Path | None
    clock: Callable[[], float]
    fsync: Callable[[int], None]


class Keeper:
    """Puts the ledger's own entries into *queue* when they are due. Used by one thread at a time."""

    def __init__(self, queue: LineQueue, upkeep: Upkeep) -> None:
        self.turn: Turn | None = None  # a file to begin that is not begun yet
        self._queue, self._upkeep = queue, upkeep
        self._signed, self._signed_at = 0, 0.0  # the newest checkpoint
        self._anchored, self._anchored_at = Link(0, ""), 0.0
        self._anchor_trouble = ""

    def begin(self, opened: Opened) -> None:
        """The first entries of this run, behind what was found."""
        self.look_at(opened, self._queue.link)
        if not opened.last:
            self._put(genesis(self._upkeep.scheme, secrets.token_hex(16), self._now()))
        elif not opened.first:
            self._put(rotation(self._upkeep.scheme, opened.previous, self._now()))
        self.note_torn(opened)
        self._put(start(_program(), os.getpid(), _was_closed(opened), self._now()))
        self._sign()

    def look_at(self, opened: Opened, link: Link) -> None:
        """Remember which file was opened; a new one will go on from *link*."""
        self._file = file_of(opened.first, link.sequence + 1, self._upkeep.clock())

    def tend(self, landed: Link, size: int) -> None:
        """What is due with *landed* on disk, in a file of *size* bytes."""
        now, link = self._upkeep.clock(), self._queue.link
        if not self.turn and is_due(self._file, landed.sequence, size, now, self._upkeep.limits):
            name = name_aside(self._file, self._now())
            self.turn = Turn(self._put(rotation(self._upkeep.scheme, name, self._now())), name)
        if link.sequence > self._signed and (
            link.sequence - self._signed >= CHECKPOINT_LINES
            or not 0 <= now - self._signed_at < CHECKPOINT_SECONDS
        ):
            self._sign()
        if not 0 <= now - self._anchored_at < ANCHOR_SECONDS:
            self.write_anchor(landed)

    def end(self) -> None:
        """The last entries of this run."""
        self._sign()
        self._put(stop(self._now()))

    def write_anchor(self, landed: Link) -> None:
        """Put the head outside. A failure is told, and costs no call: the ledger itself is whole."""
        path = self._upkeep.anchor
        if path is None or landed == self._anchored:
            return
        self._anchored_at, trouble = self._upkeep.clock(), ""
        try:
            write_anchor(path, landed, self._upkeep.fsync)
            self._anchored = landed
        except OSError as error:
            trouble = f"cannot write the ledger's anchor {path}: {error.strerror}"
        if trouble and trouble != self._anchor_trouble:
            _log.error("%s", trouble)
        self._anchor_trouble = trouble

    def note(self, reason: str, **facts: object) -> None:
        """A gap entry."""
        self._put(gap(reason, self._now(), **facts))

    def note_torn(self, opened: Opened) -> None:
        """Tell of what was cut off, if anything."""
        if opened.torn:
            self.note("torn line cut off", bytes=opened.torn.size, kept_in=opened.torn.kept_in)

    def _sign(self) -> None:
        signer = self._upkeep.signer
        if signer:
            time = self._now()
            self._signed = self._queue.put_own(lambda link: signer.checkpoint(link, time))
            self._signed_at = self._upkeep.clock()

    def _put(self, entry: dict[str, object]) -> int:
        body = encode(entry)
        return self._queue.put_own(lambda _: body)

    def _now(self) -> str:
        return stamp(self._upkeep.clock())


def _was_closed(opened: Opened) -> bool:
    line = parse(opened.last)
    return line is None or line.entry.get("kind") == STOP


def _program() -> str:
    try:
        return f"guardhouse {version('guardhouse')}"
    except PackageNotFoundError:  # run from its sources
        return "guardhouse"
