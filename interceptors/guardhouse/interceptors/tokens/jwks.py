"""Where an issuer's keys come from: a file or an https address, read beside the calls, never during one."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from .fetch import FetchError, check_address, fetch
from .jwk import MOST_BYTES, KeySet, parse, supported

__all__ = ["KeySet", "Source", "parse"]

LOG = logging.getLogger("guardhouse")
FETCH_SECONDS: Final = 5.0
FILE_PERIOD: Final = 1.0  # seconds between looks at a file
RETRY: Final = 10.0  # seconds after a failure, while there is time left


class Source:
    """The current keys of one issuer. `start()` reads them and keeps them fresh in a thread, until `stop()`.

    A set that cannot be read, is malformed or holds no fit key leaves the last good one in use, until that is
    *max_stale* old; then there is none, and tokens cannot be checked.

    Args:
        location: A file's path, or an address that begins with `https://` (`http://` only for loopback).
        algorithms: What the issuer may sign with, out of `jwk.ALGORITHMS`.
        refresh: Seconds between readings of an address; a file is looked at every second.
        max_stale: Seconds for which the last good set may be used.
        cool_down: Seconds between readings that unknown keys may cause.
        trust: Whom to trust for https; the system's authorities if None.
        clock: Monotonic seconds.

    Raises:
        ValueError: The address or an algorithm is not allowed.
    """

    def __init__(
        self,
        location: str | Path,
        algorithms: Collection[str],
        *,
        refresh: float = 300.0,
        max_stale: float = 3600.0,
        cool_down: float = 30.0,
        trust: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.location = str(location)
        self.remote = "://" in self.location
        if self.remote:
            check_address(self.location)
        self.problem = ""  # why the last reading failed; "" if it did not
        self._algorithms = supported(algorithms)
        self._refresh = refresh if self.remote else FILE_PERIOD
        self._max_stale, self._cool_down = max_stale, cool_down
        self._trust, self._clock = trust, clock
        self._keys: KeySet | None = None
        self._data: bytes | None = None
        self._good_until = self._tried = float("-inf")
        self._asking = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def keys(self) -> KeySet | None:
        """The set to verify with now, or None."""
        return self._keys if self._clock() < self._good_until else None

    def ask(self) -> None:
        """A token names a key that is not here: read again soon, unless that was done a moment ago."""
        with self._asking:
            if self._clock() - self._tried < self._cool_down:
                return
            self._tried = self._clock()
        self._wake.set()

    def load(self) -> bool:
        """Read the keys now; blocks, at most some 5 s. Whether it went well; if not, `problem` says why."""
        self._tried = now = self._clock()
        try:
            data = self._read()
            if data != self._data:  # else the same object stays, and with it all that was proved by it
                self._take(parse(data, self._algorithms), data)
            problem = ""
            self._good_until = now + self._max_stale
        except (OSError, ValueError, FetchError) as error:
            problem = error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
        if problem and problem != self.problem:
            LOG.warning("keys from %s: %s", self.location, problem)
        self.problem = problem
        return not problem

    def start(self) -> bool:
        """Read the keys, then keep them fresh in the background. Whether the first reading went well."""
        good = self.load()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="guardhouse-keys", daemon=True)
        self._thread.start()
        return good

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(FETCH_SECONDS + 1)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(min(self._refresh, RETRY) if self.problem else self._refresh)
            self._wake.clear()
            if not self._stopping:
                self._keep_on()

    def _keep_on(self) -> None:
        try:
            self.load()
        except Exception:
            LOG.exception("keys from %s could not be read", self.location)

    def _read(self) -> bytes:
        if self.remote:
            return fetch(self.location, most=MOST_BYTES, seconds=FETCH_SECONDS, trust=self._trust)
        with Path(self.location).open("rb") as file:
            return file.read(MOST_BYTES + 1)

    def _take(self, keys: KeySet, data: bytes) -> None:
        if not keys.keys:
            raise ValueError(f"no key in it is fit for use ({'; '.join(keys.notes) or 'it is empty'})")
        for note in keys.notes:
            LOG.warning("keys from %s: dropped: %s", self.location, note)
        self._keys, self._data = keys, data
