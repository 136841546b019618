"""The server's view of the API keys: all in memory, renewed in the background whenever the store changes."""

from __future__ import annotations

import hmac
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from guardhouse.interceptors.refusal import Refusal

from .key_records import KeyRecord, KeyStoreError, digest, key_id, read

if TYPE_CHECKING:
    from .keys import KeyStore

LOG = logging.getLogger("guardhouse")
MAX_STALE: Final = 60.0  # seconds
NOBODY_HAS_IT: Final = KeyRecord("", "", bytes(32), 0.0, None, None, "")


class LiveKeys:
    """Every key of *store*, read at once; `start()` keeps up with it, until `stop()`.

    A store that cannot be read leaves the last view in use for *max_stale* seconds, in which a revocation may
    be missed; after that no key is accepted.

    Args:
        store: The file.
        max_stale: Seconds.
        clock: Monotonic seconds.

    Raises:
        KeyStoreError: The store cannot be read.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        max_stale: float = MAX_STALE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._max_stale, self._clock = max_stale, clock
        self._seen: object = None
        self._records: Mapping[str, KeyRecord] | None = None
        self._failing_since: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._database = store.watch()
        try:
            self._renew()
        except (OSError, sqlite3.Error) as error:
            raise KeyStoreError(f"{store.path}: {error}") from None

    def find(self, key: str, now: float) -> KeyRecord | None:
        """The record of the key whose text is *key*, if it counts at *now*, seconds since the epoch.

        Raises:
            Refusal: KEYS_UNAVAILABLE, if the store could not be read for too long.
        """
        record, note = self.judge(key, now)
        return None if note else record

    def judge(self, key: str, now: float) -> tuple[KeyRecord, str]:
        """The record that *key* points at, and why it does not count, as a note for the ledger, or "".

        The same work whether or not there is such an id; digests are compared in constant time. Raises as
        `find` does.
        """
        record = self._current().get(key_id(key), NOBODY_HAS_IT)
        right = hmac.compare_digest(digest(self._store.pepper, key), record.digest)
        if record is NOBODY_HAS_IT:
            return record, "key_unknown"
        return record, record.lapse(now) if right else "key_wrong_secret"

    def lapse(self, record: KeyRecord, now: float) -> str:
        """Why *record*, found some time ago, no longer counts, or "". Raises as `find` does."""
        current = self._current().get(record.id)
        if current is None or current.digest != record.digest:
            return "key_unknown"
        return current.lapse(now)

    def refresh(self) -> bool:
        """Read the store again if it changed; whether that went well. One thread at a time."""
        try:
            self._renew()
            self._failing_since = None
        except Exception as error:  # the thread must go on: a store that cannot be read is acted upon
            self._fail(error)
        return self._failing_since is None

    def start(self, period: float = 0.25) -> None:
        """Refresh every *period* seconds in the background: about as long as a revocation takes."""
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(period,), name="guardhouse-api-keys", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the store: the view no longer changes."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._database.close()

    def _run(self, period: float) -> None:
        while not self._stopping.wait(period):
            self.refresh()

    def _current(self) -> Mapping[str, KeyRecord]:
        if self._records is None:
            raise Refusal("KEYS_UNAVAILABLE", "key_store_unreadable", retry_after=1.0)
        return self._records

    def _renew(self) -> None:
        """The file's own marks tell when another has taken its place; SQLite's, when this one changed."""
        status = self._store.path.stat()
        file = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if self._seen is not None and self._seen == (file, _version(self._database)):
            return
        database = self._store.watch()
        try:
            seen = (file, _version(database))
            self._records = {record.id: record for record in read(database)}
        except BaseException:
            database.close()
            raise
        self._database.close()
        self._database, self._seen = database, seen

    def _fail(self, error: Exception) -> None:
        self._seen = None  # begin anew, with a fresh connection
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
            LOG.warning("API keys: the store cannot be read (%s)", type(error).__name__)
        if self._records is not None and now - self._failing_since >= self._max_stale:
            self._records = None
            LOG.error("API keys: the store cannot be read; no key is accepted until it can")


def _version(database: sqlite3.Connection) -> object:
    """Changes when another connection has changed the database."""
    return database.execute("PRAGMA data_version").fetchone()
