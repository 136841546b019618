"""The file of a SQLite store: how it is made and opened, and what is said when that fails."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from . import StoreError, sqlite_rates, sqlite_slots

BUSY: Final = 0.25  # seconds to wait for another process
STEP_MS: Final = 5  # of one try: SQLite's pauses grow to 0.1 s, in which those that came later go first
APPLICATION: Final = 0x67684267  # "ghBg", in the header of the file: this is a store of budgets
VERSION: Final = 1
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE accounts (
    name TEXT NOT NULL,
    period TEXT NOT NULL,
    units INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    ends REAL NOT NULL,
    kept REAL NOT NULL,
    UNIQUE (name, period)
);
CREATE INDEX accounts_kept ON accounts (kept);
PRAGMA journal_mode = WAL;
"""

# What has come since: who knows nothing of them, or has not yet made them, reads and writes the rest as ever.
# So guardhouses old and new may share a file, and its version stays.
ADDED: Final = {
    "rates": sqlite_rates.TABLE,
    "rates_full": sqlite_rates.INDEX,
    "slots": sqlite_slots.TABLE,
    "slots_until": sqlite_slots.INDEX,
}


def make(path: Path) -> None:
    """Make the file *path* (0600), whole or not at all, unless it is there.

    Raises:
        StoreError: It cannot be made; or it was there once, and what is left of it would be taken for a part
            of the new one.
    """
    with told(path):
        log = path.with_name(path.name + "-wal")
        if log.exists() and not path.exists():
            raise StoreError(
                f"{path}: is gone, but {log} is left; restore the file from a backup, or remove both"
            )
        if not path.exists():
            _write(path)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the store in *path*, for any one thread at a time. It never makes a file.

    Raises:
        StoreError: It is something else, or of a newer version, or open to others.
    """
    if path.stat().st_mode & 0o077:
        raise StoreError(f"{path}: is open to others; run: chmod 600 {path}")
    database = _open(path)
    try:
        _check(database, path)
        database.execute(f"PRAGMA busy_timeout = {STEP_MS}")
        _complete(database)
    except BaseException:
        database.close()
        raise
    return database


def begin(database: sqlite3.Connection, statement: str) -> None:
    """Begin a transaction, when other processes let us. Raises sqlite3.OperationalError if they never do."""
    end = time.monotonic() + BUSY
    while True:
        try:
            database.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the file system and of SQLite become a StoreError of one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or 'cannot be opened'}") from None
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None


def _open(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)


def _check(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StoreError(f"{path}: is no store of budgets; name another file")
    if version > VERSION:
        raise StoreError(f"{path}: was made by a newer guardhouse; use that one")


def _complete(database: sqlite3.Connection) -> None:
    """Add what a file has not yet: one of before, or just made."""
    if _missing(database):
        begin(database, "BEGIN IMMEDIATE")
        for name in _missing(database):  # another process may have been faster
            database.execute(ADDED[name])
        database.execute("COMMIT")


def _missing(database: sqlite3.Connection) -> list[str]:
    there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    return [name for name in ADDED if name not in there]


def _write(path: Path) -> None:
    """Under another name first: several processes may start at once, and none may see it half made."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(_open(draft)) as database:
            database.executescript(SCHEMA)
        with suppress(FileExistsError):  # somebody else was faster: theirs is as good
            os.link(draft, path)
        _sync(path.parent)
    finally:
        for left in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + left).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make the file's name outlive a loss of power, as its content does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
