"""Batches on the disk, for a collector that is away: one file each, sent in the order of their names.

A file is a head (`GHSPOOL1`, spans, bytes, CRC-32 of the request, CRC-32 of the head; big-endian) and an
encoded `ExportTraceServiceRequest`. It is written under another name and renamed, so that a process that
is killed leaves no half of one. Nothing is fsynced: what a power cut takes is found torn, or not at all.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from guardhouse.interceptors.record.collector import TracingError

MAGIC: Final = b"GHSPOOL1"
HEAD: Final = struct.Struct(">8sIQII")
BLOCK: Final = 4096  # a small file takes a whole one
SUFFIX: Final = ".spans"


class Kept(NamedTuple):
    """A file of the spool: its number, its spans, and the room it takes."""

    number: int
    spans: int
    room: int


class Spool:
    """A folder of batches, held (`flock`) by one process. Its files are 0600; a folder made here is 0700.

    Args:
        folder: Made if it is not there.
        limit: Bytes that all files together may take.

    Raises:
        TracingError: It cannot be written, or another process holds it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._files: deque[Kept] = deque()
        self._room = 0
        self.torn = 0  # files found that were no whole batches; they were removed
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = _hold(folder / "lock")
            self._scan()
        except OSError as error:
            raise TracingError(f"{folder}: {error.strerror or 'unusable'}; write another path") from error
        self._next = self._files[-1].number + 1 if self._files else 1

    @property
    def spans(self) -> int:
        """Spans on the disk."""
        with self._lock:
            return sum(kept.spans for kept in self._files)

    def put(self, request: bytes, spans: int) -> bool:
        """Keep *request*, which holds *spans*, if there is room. OSError: the disk does not take it."""
        room = _room(HEAD.size + len(request))
        with self._lock:
            if self._held < 0:
                raise OSError("the spool is closed")
            if self._room + room > self._limit:
                return False
            _write(self._path(self._next), _head(request, spans) + request)
            self._files.append(Kept(self._next, spans, room))
            self._next += 1
            self._room += room
        return True

    def oldest(self) -> Kept | None:
        """The file that is to be sent next, or None."""
        with self._lock:
            return self._files[0] if self._files else None

    def read(self, kept: Kept) -> bytes | None:
        """The request in *kept*; None if it is not what was put there."""
        try:
            found = _read(self._path(kept.number), self._limit)
        except OSError:
            return None
        request = found[HEAD.size :]
        return request if found[: HEAD.size] == _head(request, kept.spans) else None

    def drop(self, kept: Kept) -> None:
        """Forget the oldest file, *kept*. One that cannot be removed is sent again by the next process."""
        with self._lock:
            self._files.popleft()
            self._room -= kept.room
        with suppress(OSError):
            self._path(kept.number).unlink()

    def close(self) -> None:
        """Leave the folder to whoever comes next."""
        with self._lock:
            if self._held >= 0:
                os.close(self._held)
                self._held = -1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016x}{SUFFIX}"

    def _scan(self) -> None:
        """List what an earlier process left; remove what is no whole batch. Contents are read when sent."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix not in (SUFFIX, ".new"):
                continue
            kept = _found(path)
            if kept is None:
                self.torn += 1
                path.unlink()
            else:
                self._files.append(kept)
                self._room += kept.room


def _hold(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TracingError(f"{path.parent} is in use; give each process a spool of its own") from None
    return descriptor


def _head(request: bytes, spans: int) -> bytes:
    head = HEAD.pack(MAGIC, spans, len(request), crc32(request), 0)
    return head[:-4] + crc32(head[:-4]).to_bytes(4, "big")


def _room(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _found(path: Path) -> Kept | None:
    """What the head of the file at *path* says, if it says it right and the file is as long as that."""
    if path.suffix != SUFFIX or path.is_symlink() or not path.is_file():
        return None
    with suppress(OSError, ValueError, struct.error):
        with path.open("rb") as stream:
            head = stream.read(HEAD.size)
        magic, spans, length, _, check = HEAD.unpack(head)
        size = path.stat().st_size
        if (magic, check, HEAD.size + length) == (MAGIC, crc32(head[:-4]), size):
            return Kept(int(path.stem, 16), spans, _room(size))
    return None


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as stream:
            stream.write(content)
        new.rename(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _read(path: Path, most: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as stream:
        return stream.read(most + 1)
