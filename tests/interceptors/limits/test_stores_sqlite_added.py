"""Rates and slots in a SQLite file: one of before gets them, they sync nothing, and what goes wrong."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import StoreError
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

from .accounts import WINDOW, account, draw, drip, hold, spent, take

# As the first guardhouse that had stores made it.
FORMER = """
PRAGMA application_id = 1734885991;
PRAGMA user_version = 1;
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
INSERT INTO accounts VALUES ('ann', '2100-01', 10, 3, 4105209600.0, 4105296000.0);
"""
DYING = """
import os, sys, signal
from guardhouse.interceptors.limits.stores import Drip, Hold
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.draw([Drip("ann", 1e6, 1e7, 4, 4)])
store.hold("dead", [Hold("ann", 10, 4)], 600)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the limits are."""
    return tmp_path / "budgets.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store, closed at the end."""
    made = SqliteStore(path)
    yield made
    made.close()


def _write_former(path: Path) -> None:
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FORMER)


def _schema(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return set(database.execute("SELECT name, sql FROM sqlite_master"))


def test_a_file_of_before(path: Path) -> None:
    """Has what was spent in it, and gets the rest; it is then as one made today, and of the same version, so
    that a guardhouse of before can go on with it beside us.
    """
    _write_former(path)
    store = SqliteStore(path)
    assert spent(store) == {("ann", WINDOW): 3}
    assert [take(store, 1, account()), draw(store, drip()), hold(store, "p", 2)] == [1, [1], 2]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    SqliteStore(path.with_name("new.db")).close()
    assert _schema(path) == _schema(path.with_name("new.db"))
    store.close()


def test_a_file_of_before_opened_by_many(path: Path) -> None:
    """Eight that start together make the tables once."""
    _write_former(path)
    drawn: list[int] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        with closing(SqliteStore(path)) as store:
            drawn.extend(draw(store, drip(most=2)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drawn) == [0, 0, 0, 2, 2, 2, 2, 2]


def test_a_file_of_before_that_is_being_written(path: Path) -> None:
    """Is told as busy; it opens when the other is done."""
    _write_former(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"budgets\.db: database is locked$"):
            SqliteStore(path)
        other.execute("ROLLBACK")
    SqliteStore(path).close()


def test_restored_from_before(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """A backup of before, put in place while the store is in use, is used as well."""
    assert draw(store, drip(most=4)) == [4]
    for left in ("", "-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    _write_former(path)
    assert draw(store, drip(most=10)) == [10]
    assert spent(store) == {("ann", WINDOW): 3}


def test_outlives_a_killed_process(path: Path) -> None:
    """What it drew is drawn, and its slots are its own for as long as it said."""
    assert subprocess.run([sys.executable, "-c", DYING, path]).returncode == -9
    store = SqliteStore(path)
    assert [draw(store, drip(most=10)), hold(store, "p", 10)] == [[6], 6]
    store.close()


def test_only_what_is_spent_is_synced(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Rates and slots do not wait for the disk; what is taken does, before them and after."""

    def sync() -> object:
        assert store._database is not None
        return store._database.execute("PRAGMA synchronous").fetchone()[0]

    levels = []
    for verb in (lambda: draw(store, drip()), lambda: hold(store, "p", 1), lambda: take(store, 7, account())):
        verb()
        levels.append(sync())
    assert levels == [1, 1, 2]
    draw(store, drip())
    found = tmp_path / "found"
    found.mkdir()
    for name in ("budgets.db", "budgets.db-wal"):
        shutil.copy(path.with_name(name), found / name)
    other = SqliteStore(found / "budgets.db")
    assert spent(other) == {("ann", WINDOW): 7}
    other.close()


def test_time_is_read_while_nobody_else_writes(path: Path) -> None:
    """Otherwise who waited long for the file would draw by a time before that of others, and the time in
    between would count twice.
    """

    def ticks() -> float:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        return 1000.0

    with closing(SqliteStore(path, ticks=ticks)) as store:
        assert [draw(store, drip()), hold(store, "p", 1)] == [[1], 1]


def test_locked(store: SqliteStore, path: Path) -> None:
    """While another process holds the file, both fail in a short time, and nothing is done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for verb in (lambda: draw(store, drip()), lambda: hold(store, "p", 1)):
            with pytest.raises(StoreError, match=r"budgets\.db: database is locked$"):
                verb()
        other.execute("ROLLBACK")
    assert [draw(store, drip(most=99)), hold(store, "q", 10)] == [[10], 10]


def test_deleted(store: SqliteStore, path: Path) -> None:
    """A file that is gone is not made again by drawing from it."""
    path.unlink()
    for verb in (lambda: draw(store, drip()), lambda: hold(store, "p", 1)):
        with pytest.raises(StoreError, match="No such file or directory"):
            verb()
    assert not path.exists()
