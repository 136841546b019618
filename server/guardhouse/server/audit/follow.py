"""The lines of a ledger as they come, across rotation, replacement and truncation. Memory stays bounded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from guardhouse.interceptors.ledger.verify import LONGEST_LINE

PIECE: Final = 1 << 20  # bytes read at once
BLOCK: Final = 1 << 16  # bytes looked through at once on the way back from the end


class Follower:
    """Gives each whole line once, beginning with the last *count* that are there.

    Args:
        files: The files as they are now, oldest first. Asked again and again.
        count: How many of the lines that are already there.

    Raises:
        OSError: A file cannot be read.
    """

    def __init__(self, files: Callable[[], Sequence[Path]], count: int) -> None:
        self._files = files
        self._file, self._rest = -1, b""
        self._name = ""
        self._start(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self) -> list[bytes] | None:
        """Some more lines, without newlines; it may be none of them yet. None where nothing is new."""
        ahead = self._ahead()  # asked before reading: what our file was given until it was set aside counts
        piece = os.read(self._file, PIECE) if self._file >= 0 else b""
        if piece:
            return self._split(piece)
        return [] if ahead is not None and self._open(ahead) else None

    def _split(self, piece: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE:  # none of ours: shown in parts, never held whole
            lines.append(self._rest)
            self._rest = b""
        return lines

    def _start(self, count: int) -> None:
        """Stand where the last *count* lines begin, in whichever file that is."""
        paths, missing = self._files(), count
        for path in reversed(paths):
            if not self._open(path):
                continue
            offset, missing = _back(self._file, missing)
            os.lseek(self._file, offset, os.SEEK_SET)
            if not missing:
                return

    def _ahead(self) -> Path | None:
        """The file to go on with once ours is read to its end; None while ours is the last."""
        if self._file < 0:
            return next(iter(self._files()), None)
        here = os.fstat(self._file)
        if here.st_size < os.lseek(self._file, 0, os.SEEK_CUR):  # cut: what is in it now is new
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        paths = self._files()
        at = next((at for at, path in enumerate(paths) if _is(path, here)), None)
        if at is not None:
            return paths[at + 1] if at + 1 < len(paths) else None
        # Ours is gone: behind one that was set aside comes the next by name, behind another its successor.
        return next((path for path in paths if path.name > self._name), paths[-1] if paths else None)

    def _open(self, path: Path) -> bool:
        """Hold *path*, from its beginning, instead of the present file; not where it just went away."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        self._close()
        self._file, self._name = file, path.name
        return True

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._rest = -1, b""


def _back(file: int, count: int) -> tuple[int, int]:
    """Where the last *count* whole lines of *file* begin, and how many of them it does not have."""
    start, seen = os.lseek(file, 0, os.SEEK_END), 0
    while start:
        end, start = start, max(0, start - BLOCK)
        block = os.pread(file, end - start, start)
        at = block.rfind(b"\n")
        while at >= 0:
            if seen == count:
                return start + at + 1, 0
            seen += 1
            at = block.rfind(b"\n", 0, at)
    return 0, count - seen


def _is(path: Path, here: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), here)
    except OSError:
        return False
