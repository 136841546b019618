"""The file under a ledger: opened for one writer, mended after a crash, written in groups of lines."""

import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .chain import parse

NAME = "ledger.jsonl"
ROTATED = "ledger-*.jsonl"
_LAST_BYTES = 16 << 20  # how far from the end the last whole line may begin
_FIRST_BYTES = 64 << 10  # a genesis or rotation entry is far shorter
_LINES_AT_ONCE = 1024


class LedgerError(Exception):
    """The ledger cannot be opened, written or closed properly. The text is for the operator."""


class Torn(NamedTuple):
    """Bytes cut from the end of a ledger, and the file beside it that keeps them."""

    size: int
    kept_in: str


class Opened(NamedTuple):
    """What was found in a folder: lines without their newlines, b"" for none, and what had to be cut off.

    Where the file is new, *last* is that of the file *previous*, which was set aside before.
    """

    first: bytes
    last: bytes
    torn: Torn | None
    previous: str


def rotated(folder: Path) -> list[Path]:
    """The files that rotation set aside, oldest first."""
    return sorted(folder.glob(ROTATED))


class LedgerFile:
    """One ``ledger.jsonl``, locked (`flock`) against a second writer. All of it may block and raise OSError.

    *fsync* takes a file descriptor; *stamp* gives the present time as text, for the names of files set aside.
    """

    def __init__(self, folder: Path, *, fsync: Callable[[int], None], stamp: Callable[[], str]) -> None:
        self.path = folder / NAME
        self.size = 0  # bytes up to the end of the last line known to be on disk
        self._fsync, self._stamp = fsync, stamp
        self._descriptor = -1

    def open(self, ours: Sequence[bytes] = ()) -> Opened:
        """Open or create the file, take the lock, and cut off what no newline ended.

        Of *ours*, lines that wait to be written, an earlier try may have left some: they are not found, but
        taken back. Nobody knows whether they are on disk.
        """
        self.close()
        # A folder made here is 0700; one that is there keeps its mode, it may hold more than ours.
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open_alone(self.path)
        try:
            self._take_back(descriptor, ours)
            tail = _read_tail(descriptor)
            last, whole = _last_line(tail)
            self.size = os.fstat(descriptor).st_size - len(tail) + whole
            torn = self._cut(descriptor)
            self._sync_folder()
            opened = self._found(descriptor, last, torn)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return opened

    def rotate(self, name: str) -> None:
        """Set the file aside under *name*, read-only, and begin an empty one. May be tried again."""
        if self.size:
            aside = self.path.with_name(name)
            if os.path.lexists(aside):
                raise LedgerError(f"{aside} is in the way of rotation: move it away")
            self.path.rename(aside)
            os.fchmod(self._descriptor, 0o400)
            self.open()

    def in_place(self) -> bool:
        """Whether the path still leads to the file that we hold."""
        if self._descriptor < 0:
            return False
        try:
            there, here = self.path.lstat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, here) and here.st_nlink > 0

    def untouched(self) -> bool:
        """Whether the file is as long as we left it."""
        return os.fstat(self._descriptor).st_size == self.size

    def write(self, lines: Sequence[bytes]) -> bool:
        """Add *lines*, given without newlines, and fsync.

        False if the file was moved meanwhile: the lines may be gone with it.

        On an OSError nothing counts as written, and what was written in part is cut off again.
        """
        try:
            for start in range(0, len(lines), _LINES_AT_ONCE):
                _write_all(self._descriptor, b"\n".join((*lines[start : start + _LINES_AT_ONCE], b"")))
            self._fsync(self._descriptor)
        except OSError:
            with suppress(OSError):  # `open` mends it, if this cannot
                os.ftruncate(self._descriptor, self.size)
            raise
        if not self.in_place():
            return False
        self.size += sum(map(len, lines)) + len(lines)
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take_back(self, descriptor: int, ours: Sequence[bytes]) -> None:
        """Cut off what stands behind the last line known to be on disk, if it is the beginning of *ours*."""
        left = os.fstat(descriptor).st_size - self.size
        if ours and left > 0 and os.pread(descriptor, left, self.size) == b"\n".join((*ours, b""))[:left]:
            os.ftruncate(descriptor, self.size)

    def _cut(self, descriptor: int) -> Torn | None:
        """Move what stands behind the last whole line to a file of its own: it is evidence."""
        size = os.fstat(descriptor).st_size - self.size
        if not size:
            return None
        kept = self.path.with_name(f"{NAME}.torn-{self._stamp().replace(':', '')}")
        copy = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            _write_all(copy, os.pread(descriptor, size, self.size))
            self._fsync(copy)
        except BaseException:  # every try would leave one more
            kept.unlink()
            raise
        finally:
            os.close(copy)
        os.ftruncate(descriptor, self.size)
        self._fsync(descriptor)
        return Torn(size, kept.name)

    def _found(self, descriptor: int, last: bytes, torn: Torn | None) -> Opened:
        if last:
            first = os.pread(descriptor, _FIRST_BYTES, 0).partition(b"\n")[0]
            return Opened(first, last, torn, "")
        before = rotated(self.path.parent)
        if not before:
            return Opened(b"", b"", torn, "")
        return Opened(b"", _last_line_of(before[-1]), torn, before[-1].name)

    def _sync_folder(self) -> None:
        """A new file is only on disk when its folder is."""
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_alone(path: Path) -> int:
    """A descriptor on *path*, locked, mode 0600. O_NONBLOCK: a FIFO in its place must not hang us."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise LedgerError(f"cannot open {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LedgerError(f"{path} is not a plain file: move it away")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, 0o600)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LedgerError(f"{path} has another writer: give each worker a folder of its own") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read_tail(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, min(size, _LAST_BYTES), max(0, size - _LAST_BYTES))


def _last_line_of(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return _last_line(_read_tail(descriptor))[0]
    finally:
        os.close(descriptor)


def _last_line(tail: bytes) -> tuple[bytes, int]:
    """The last whole line in *tail*, and the bytes of *tail* up to its end. b"" for an empty ledger.

    Lines behind it that are no ledger lines count as torn; where there are only such lines, it is no ledger.
    """
    end = tail.rfind(b"\n")
    while end >= 0:
        begin = tail.rfind(b"\n", 0, end)
        line = tail[begin + 1 : end]
        if parse(line):
            return line, end + 1
        end = begin
    if b"\n" in tail or len(tail) >= _LAST_BYTES:
        raise LedgerError(f"{NAME} holds something else than a ledger: move it away")
    return b"", 0


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
