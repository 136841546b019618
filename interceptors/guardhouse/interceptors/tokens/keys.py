"""API keys at rest: a SQLite file that knows of every key its id, its name and a keyed digest, never the key.

The pepper of the digests lies in a file of its own, so that a copy of the database alone is worth nothing.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from .key_records import NAME, KeyRecord, KeyStoreError, digest, key_id, mistyped, new_key, read
from .keys_live import LiveKeys

__all__ = ["KeyRecord", "KeyStore", "KeyStoreError", "LiveKeys", "mistyped"]

LONGEST_NOTE: Final = 200  # characters
PEPPER_BYTES: Final = 32
VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL,
    note TEXT NOT NULL
)
"""


class KeyStore:
    """The keys in the SQLite file *path*, for the command line; made (0600) if it is not there.

    Raises:
        KeyStoreError: The file cannot be made or read, is no store of keys, is open to others, or has lost
            its pepper. Every method may raise it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        beside = self.path.with_name(self.path.name + ".pepper")
        with _told(self.path):
            _make(beside, None if self.path.exists() else os.urandom(PEPPER_BYTES))
            _make(self.path, b"")
            self.pepper = beside.read_bytes()
        if len(self.pepper) != PEPPER_BYTES:
            raise KeyStoreError(f"{beside}: is not {PEPPER_BYTES} bytes long; restore it from a backup")
        with self._open() as database:
            _prepare(database, self.path)

    def create(self, name: str, *, note: str = "", expires: float | None = None, now: float) -> str:
        """Make a key and return its text, which is shown this once and stored nowhere.

        Two keys may have one name, so that the new one can be handed out before the old one is revoked.

        Args:
            name: What policy and ledger know it by.
            note: For people.
            expires: Seconds since the epoch; None for never.
            now: Seconds since the epoch.

        Raises:
            ValueError: The name, the note or the expiry cannot be.
        """
        if NAME.fullmatch(name) is None:
            raise ValueError(
                "a key's name is up to 64 letters, digits, '.', '_', '-'; a letter or digit first"
            )
        if len(note) > LONGEST_NOTE or not note.isprintable():
            raise ValueError(f"a note is at most {LONGEST_NOTE} printable characters")
        if expires is not None and not now < expires < float("inf"):
            raise ValueError("a key must expire after now")
        key = new_key()
        row = (key_id(key), name, digest(self.pepper, key), now, expires, note)
        with self._open() as database, database:
            database.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL, ?)", row)
        return key

    def list(self) -> list[KeyRecord]:
        """Every key there ever was, oldest first."""
        with self._open() as database:
            return read(database)

    def revoke(self, id_or_name: str, now: float) -> int:
        """Revoke the key of that id, or every key of that name; how many still counted until now."""
        update = "UPDATE keys SET revoked = ? WHERE (id = ? OR name = ?) AND revoked IS NULL"
        with self._open() as database, database:
            return database.execute(update, (now, id_or_name, id_or_name)).rowcount

    def watch(self) -> sqlite3.Connection:
        """A new connection that only reads, to be kept; for any one thread at a time."""
        with _told(self.path):
            return self._connect("ro", 0.2)

    def _connect(self, mode: str, timeout: float) -> sqlite3.Connection:
        """Never makes a file: SQLite would make one that others can read."""
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=timeout, check_same_thread=False)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with _told(self.path), closing(self._connect("rw", 5)) as database:
            yield database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise KeyStoreError(f"{path}: was made by a newer guardhouse; use that one")
    if version < VERSION:
        with suppress(sqlite3.OperationalError):  # somebody else was faster: then it can be read
            database.executescript(f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT")
    read(database)


def _make(path: Path, content: bytes | None) -> None:
    """Make *path* with *content*, whole or not at all, unless it is there; refuse what others can read."""
    if content is not None and not path.exists():
        _write(path, content)
    if not path.exists():
        raise KeyStoreError(f"{path}: is gone; no key can be checked without it; restore it from a backup")
    if path.stat().st_mode & 0o077:
        raise KeyStoreError(f"{path}: is open to others; run: chmod 600 {path}")


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        with suppress(FileExistsError):  # somebody else was faster: theirs is as good
            os.link(draft, path)
    finally:
        draft.unlink()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyStoreError(f"{path}: {error.strerror or 'cannot be opened'}") from None
    except sqlite3.Error as error:
        raise KeyStoreError(f"{path}: {error}") from None
