"""The SQLite store's file: who may read it, why it is refused, what outlives what, and what is forgotten."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import GRACE, StoreError
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.limits.stores.sqlite import LOOKS, SqliteStore

from .accounts import WINDOW, account, spent, take

DYING = """
import os, sys, signal
from guardhouse.interceptors.limits.stores import Account, Want
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.take([Want(Account("ann", "2100-01", 10, 4105209600.0), 7, 7)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the budgets are."""
    return tmp_path / "budgets.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store, closed at the end."""
    made = SqliteStore(path)
    yield made
    made.close()


def test_for_nobody_else(store: SqliteStore, path: Path) -> None:
    """The file and what SQLite puts beside it are the owner's alone, whatever the umask; no draft is left."""
    before = os.umask(0)
    try:
        other = SqliteStore(path.with_name("other.db"))
        take(other, 1, account())
        take(store, 1, account())
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    names = [f"{name}{end}" for name in ("budgets.db", "other.db") for end in ("", "-shm", "-wal")]
    assert modes == dict.fromkeys(names, 0o600)
    other.close()


def test_outlives_a_killed_process(path: Path) -> None:
    """A process takes, and is killed at once: it has paid."""
    assert subprocess.run([sys.executable, "-c", DYING, path]).returncode == -9
    store = SqliteStore(path)
    assert spent(store) == {("ann", WINDOW): 7}
    store.close()


def test_outlives_a_loss_of_power(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Each take syncs the log before it is done; and the file and its log, as they are then, are enough for
    another machine to know what was spent.
    """
    take(store, 7, account())
    assert store._database is not None
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)
    found = tmp_path / "found"
    found.mkdir()
    for name in ("budgets.db", "budgets.db-wal"):
        shutil.copy(path.with_name(name), found / name)
    other = SqliteStore(found / "budgets.db")
    assert spent(other) == {("ann", WINDOW): 7}
    other.close()


def test_made_by_many_at_once(path: Path) -> None:
    """Eight that start together make one file, and none sees it half made."""
    made: list[SqliteStore] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        made.append(SqliteStore(path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert sum(take(store, 1, account()) or 0 for store in made) == 8
    assert spent(made[0]) == {("ann", WINDOW): 8}
    for store in made:
        store.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("PRAGMA application_id = 7", "is no store of budgets; name another file"),
        ("PRAGMA user_version = 2", "was made by a newer guardhouse; use that one"),
    ],
)
def test_a_file_of_somebody_else(store: SqliteStore, path: Path, statement: str, told: str) -> None:
    """A database of another program, or of a later version, is refused and left as it is."""
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
    with pytest.raises(StoreError, match=f"^{path}: {told}$"):
        SqliteStore(path)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough for one" * 100])
def test_no_database(path: Path, content: bytes) -> None:
    """An empty file is no store either: whoever cut it off has not thereby given back what was spent."""
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreError, match=r"^[^\n]*(is no store of budgets|is not a database)[^\n]*$"):
        SqliteStore(path)
    assert path.read_bytes() == content


def test_open_to_others(store: SqliteStore, path: Path) -> None:
    """A file that others can read or write is refused, with the command that closes it."""
    store.close()
    path.chmod(0o640)
    with pytest.raises(StoreError, match=f"run: chmod 600 {path}$"):
        SqliteStore(path)


def test_only_the_log_is_left(store: SqliteStore, path: Path) -> None:
    """A new file beside the log of an old one would be read with it: that is refused at the start."""
    take(store, 1, account())
    path.unlink()
    with pytest.raises(StoreError, match=r"is gone, but .*-wal is left"):
        SqliteStore(path)


@pytest.mark.parametrize("where", ["nowhere/budgets.db", "."])
def test_no_place_for_a_file(tmp_path: Path, where: str) -> None:
    """A folder that is not there, or a folder instead of a file, is told in one line."""
    with pytest.raises(StoreError, match=r"^[^\n]+$"):
        SqliteStore(tmp_path / where)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_forgotten_after_the_grace(kind: str, path: Path) -> None:
    """An account is kept for a day after its end, whatever comes; then new ones drop it, a few at a time."""
    now = 1_000_000.0
    made = MemoryStore(lambda: now) if kind == "memory" else SqliteStore(path, lambda: now)
    for number in range(3 * LOOKS):
        take(made, 1, account(f"old{number:02}", ends=now + 3600))
    now += 3600 + GRACE - 1
    take(made, 1, account("new1"))
    assert len(spent(made)) == 3 * LOOKS + 1
    now += 1
    for number, left in enumerate([2 * LOOKS, LOOKS, 0, 0]):
        take(made, 1, account(f"new2{number}"))
        olds = [name for name, _ in spent(made) if name.startswith("old")]
        assert left <= len(olds) <= left + 2
    made.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_kept_while_it_is_touched(kind: str, path: Path) -> None:
    """Who asks in a window long over, with a clock far behind, does not spend without end."""
    now = 1_000_000.0
    made = MemoryStore(lambda: now) if kind == "memory" else SqliteStore(path, lambda: now)
    old = account("old", ends=now - 10 * GRACE)
    for number in range(10):
        assert take(made, 1, old) == 1
        take(made, 1, account(f"new{number}"))
        now += GRACE - 1
    assert take(made, 1, old) is None
    made.close()
