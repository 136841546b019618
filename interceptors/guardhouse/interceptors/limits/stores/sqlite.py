"""Limits of one machine, in a SQLite file: what was spent outlives its processes, and a loss of power."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from . import GRACE, Account, Drawn, Drip, Entry, Hold, Short, StoreError, Want, sqlite_rates, sqlite_slots
from .checks import check_drips, check_holds, check_units, check_wants
from .portions import portions
from .sqlite_file import BUSY, begin, connect, make, told

LOOKS: Final = 8  # accounts long over that one `take` drops
SELECT: Final = "SELECT spent FROM accounts WHERE name = ? AND period = ?"
INSERT: Final = """
INSERT INTO accounts (name, period, units, spent, ends, kept) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name, period) DO UPDATE SET
    units = excluded.units, spent = excluded.spent, ends = excluded.ends, kept = excluded.kept
"""
GIVE: Final = """
UPDATE accounts SET spent = max(0, spent - ?), kept = max(ends, ?) + ? WHERE name = ? AND period = ?
"""
FORGET: Final = """
DELETE FROM accounts WHERE rowid IN (SELECT rowid FROM accounts WHERE kept <= ? ORDER BY kept LIMIT ?)
"""
READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"
DURABLE: Final = "PRAGMA synchronous = FULL"  # a commit outlives a loss of power
BRIEF: Final = "PRAGMA synchronous = NORMAL"  # it outlives its process; after a loss of power, nobody asks
ENTRIES: Final = "SELECT name, period, units, spent, ends FROM accounts ORDER BY name, period"


class SqliteStore:
    """One connection under a lock, opened anew after any trouble. A verb blocks for half a second at most, as
    long as the disk is quick.

    A file that goes away while the store is in use is not made again, which would forget what was spent:
    every verb fails until it is back, or until a new store makes a new one. Not for a network file system.

    Args:
        path: The file; made (0600) if it is not there.
        clock: Seconds since the epoch; says only when accounts are forgotten.
        ticks: Seconds for rates and slots: the same in all processes, and never set; but they may begin anew
            when the machine does.

    Raises:
        StoreError: The file cannot be made or opened, is something else, is newer, or is open to others.
    """

    def __init__(
        self,
        path: str | Path,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._clock, self._ticks = Path(path), clock, ticks
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._file = (0, 0)  # the device and inode that `_database` is open on
        make(self._path)
        with self._transaction(READ):
            pass

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """See `Store`."""
        check_wants(wants)
        with self._transaction() as database:
            spents = [_spent(database, want.account) for want in wants]
            taken = portions(wants, spents)
            if isinstance(taken, Short):
                return taken
            totals = [spent + units for spent, units in zip(spents, taken, strict=True)]
            self._spend(database, [want.account for want in wants], totals)
            return taken

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Store`."""
        check_units(units)
        now = self._clock()
        with self._transaction() as database:
            rows = [(count, now, GRACE, account.name, account.window) for account, count in units]
            database.executemany(GIVE, rows)

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """See `Store`. Not meant to outlive a loss of power."""
        check_drips(drips)
        with self._transaction(sync=BRIEF) as database:
            now = self._ticks()  # as nobody else is writing: so time goes on from one to the next
            sqlite_rates.forget(database, now)
            return tuple([sqlite_rates.draw(database, drip, now) for drip in drips])

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """See `Store`. Not meant to outlive a loss of power: no process does."""
        check_holds(process, holds, seconds)
        with self._transaction(sync=BRIEF) as database:
            now = self._ticks()
            sqlite_slots.forget(database, now)
            return tuple([sqlite_slots.hold(database, process, hold, seconds, now) for hold in holds])

    def entries(self) -> Iterator[Entry]:
        """See `Store`. Does not wait for who writes."""
        with self._transaction(READ) as database:
            rows = database.execute(ENTRIES).fetchall()
        for row in rows:
            yield Entry(*row)

    def reset(self, name: str) -> int:
        """See `Store`."""
        with self._transaction() as database:
            return database.execute("DELETE FROM accounts WHERE name = ?", (name,)).rowcount

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            self._drop()

    def _spend(self, database: sqlite3.Connection, accounts: list[Account], totals: list[int]) -> None:
        now = self._clock()
        for (name, window, limit, ends), spent in zip(accounts, totals, strict=True):
            database.execute(INSERT, (name, window, limit, spent, ends, max(ends, now) + GRACE))
        database.execute(FORGET, (now, LOOKS))

    @contextmanager
    def _transaction(self, statement: str = WRITE, sync: str = DURABLE) -> Iterator[sqlite3.Connection]:
        """All or nothing. After any error the file is opened anew: then only what was committed is there.

        Who will write says so as it begins, and waits its turn: who comes to it later is refused at once.
        """
        if not self._lock.acquire(timeout=BUSY):
            raise StoreError(f"{self._path}: is busy")
        try:
            with told(self._path):
                database = self._current()
                database.execute(sync)
                begin(database, statement)
                yield database
                database.execute("COMMIT")
        except BaseException:
            self._drop()
            raise
        finally:
            self._lock.release()

    def _current(self) -> sqlite3.Connection:
        """A connection to the file that has the name now: SQLite would go on writing to one that has not."""
        status = self._path.stat()
        file = (status.st_dev, status.st_ino)
        if self._database is None or file != self._file:
            self._drop()
            self._database, self._file = connect(self._path), file
        return self._database

    def _drop(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):  # what led here has been told, or nothing is lost
                database.close()


def _spent(database: sqlite3.Connection, account: Account) -> int:
    row = database.execute(SELECT, (account.name, account.window)).fetchone()
    return int(row[0]) if row else 0
