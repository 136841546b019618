"""The folder of captures and the thread that writes it: whoever hands over a message never waits."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from .lines import File, Message, doomed, encode, file_name

LOG: Final = logging.getLogger(__name__)
MOST_WAITING: Final = 16 << 20  # bytes on their way to the disk
GATHER: Final = 0.05  # seconds in which messages gather, to be written together
TIDY: Final = 10.0  # seconds between two looks for files that must go
RETRY: Final = 1.0  # seconds until a disk that refused is tried again


class CaptureError(Exception):
    """The folder of captures cannot be used. One line for the operator."""


class Store:
    """Writes captured messages into *folder*, which is made, mode 0700, where it is not there.

    Args:
        folder: Belongs to captures alone, and to nobody else.
        limit: Bytes of all files together.
        keep: Seconds after which a file is deleted.
        clock: Seconds since the epoch.

    Raises:
        CaptureError: The folder cannot be made or written to, or others may read it.
    """

    def __init__(
        self, folder: Path, *, limit: int, keep: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._limit, self._keep, self._clock = folder, limit, keep, clock
        self._lock, self._wake, self._stopping = Lock(), Event(), Event()
        self._queue: list[Message] = []
        self._waiting = 0  # bytes put and not yet on disk
        self._room = limit  # bytes that may still be put, once all older files have made way
        self._tidied = 0.0
        self.trouble = ""  # what the disk has against it; nothing is taken meanwhile
        _prepare(folder)
        self._tidy(0)
        self._thread = Thread(target=self._run, name="guardhouse-capture", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> bool:
        """Take *message*, or say no: too many wait, there is no room, or the disk refuses."""
        weight = message.weight
        with self._lock:
            after = self._waiting + weight
            if self.trouble or self._stopping.is_set() or after > min(MOST_WAITING, self._room):
                return False
            self._queue.append(message)
            self._waiting = after
        self._wake.set()
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, trying for *timeout* seconds; what is left then is lost, and logged."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._queue:
            LOG.error("%d captured messages could not be written: %s", len(self._queue), self.trouble)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(TIDY)
            self._wake.clear()
            self._stopping.wait(RETRY if self.trouble else GATHER)
            self._work()
        self._work()

    def _work(self) -> None:
        """Write what waits, and delete what must go. What the disk refuses goes on waiting."""
        with self._lock:
            batch = list(self._queue)
        try:
            if batch or time.monotonic() - self._tidied > TIDY:
                self._tidy(sum(message.weight for message in batch))
            for name, messages in groupby(batch, lambda message: file_name(message.wall_ns)):
                self._write(name, list(messages))
        except OSError as error:
            self._fail(f"cannot write captures to {self._folder}: {error.strerror}")
        else:
            self.trouble = ""

    def _fail(self, trouble: str) -> None:
        if trouble != self.trouble:
            LOG.error("%s", trouble)
        self.trouble = trouble
        self._wake.set()

    def _write(self, name: str, messages: Sequence[Message]) -> None:
        _append(self._folder / name, b"".join(map(encode, messages)))
        weight = sum(message.weight for message in messages)
        with self._lock:
            del self._queue[: len(messages)]
            self._waiting -= weight
            self._room -= weight

    def _tidy(self, weight: int) -> None:
        """Make way for *weight* bytes more; then see how much could be put in all."""
        files = [File(each.name, each.stat().st_size) for each in os.scandir(self._folder) if each.is_file()]
        now = self._clock()
        gone = set(doomed(files, now, self._keep, self._limit - weight))
        for name in gone:
            (self._folder / name).unlink(missing_ok=True)
        present = file_name(int(now * 10**9))
        self._room = self._limit - sum(file.size for file in files if file.name >= present)
        self._tidied = time.monotonic()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise CaptureError(f"cannot make {folder}: {error.strerror}") from error
    if mode & 0o077:
        raise CaptureError(f"{folder} is open to others: captures are for few eyes; run chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CaptureError(f"{folder} cannot be written to: change its owner or write another path")


def _append(path: Path, data: bytes) -> None:
    """Add whole lines to *path*, or nothing: what was written in part is cut off again."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # we were killed in the middle of a line
            data = b"\n" + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
