"""What goes wrong with a SQLite store's file: told in one line, nothing half done, over when it is over."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import StoreError, Want
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

from .accounts import WINDOW, account, spent, take

ONE_LINE = r"^[^\n]*budgets\.db: [^\n]+$"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the budgets are."""
    return tmp_path / "budgets.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in which ann has spent 3 of 10."""
    made = SqliteStore(path)
    take(made, 3, account())
    yield made
    made.close()


def _fails(store: SqliteStore, told: str = ONE_LINE) -> None:
    with pytest.raises(StoreError, match=told):
        store.take([Want(account("bob"), 1, 1), Want(account(), 1, 1)])
    with pytest.raises(StoreError, match=ONE_LINE):
        store.give([(account(), 1)])


def _is_well(store: SqliteStore) -> None:
    """What was spent is known, nothing has come half done out of the trouble, and the store is used again."""
    assert spent(store) == {("ann", WINDOW): 3}
    assert take(store, 1, account()) == 1


def test_locked(store: SqliteStore, path: Path) -> None:
    """While another process holds the file, it fails in a short time; entries can still be read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        _fails(store, r"budgets\.db: database is locked$")
        assert spent(store) == {("ann", WINDOW): 3}
        other.execute("ROLLBACK")
    _is_well(store)


def test_deleted_and_restored(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """SQLite goes on with a file that has no name any more; this does not. It is not made again either; once
    it is restored from a backup, the store goes on with that.
    """
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(tmp_path / "backup")) as backup:
        other.backup(backup)
    path.unlink()
    _fails(store, "No such file or directory")
    assert not path.exists()
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    (tmp_path / "backup").chmod(0o600)
    (tmp_path / "backup").rename(path)
    _is_well(store)


def test_replaced_by_a_new_store(store: SqliteStore, path: Path) -> None:
    """All files deleted and made anew by another process, as on its restart: both go on with the new one."""
    for left in ("", "-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    other = SqliteStore(path)
    take(other, 3, account())
    _is_well(store)
    assert spent(other) == {("ann", WINDOW): 4}
    other.close()


def test_replaced_by_something_else(store: SqliteStore, path: Path) -> None:
    """A foreign file in its place is refused, and not written to."""
    store.close()
    path.rename(path.with_name("aside"))
    path.write_bytes(b"x" * 8192)
    path.chmod(0o600)
    _fails(store)
    assert path.read_bytes() == b"x" * 8192
    path.with_name("aside").replace(path)
    _is_well(store)


def test_corrupted(store: SqliteStore, path: Path) -> None:
    """A file with rubbish in its pages is told; restored, the store goes on."""
    store.close()
    good = path.read_bytes()
    rubbish = path.with_name("rubbish")
    rubbish.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
    rubbish.chmod(0o600)
    rubbish.replace(path)
    _fails(store, r"budgets\.db: (database disk image is malformed|file is not a database|malformed)")
    path.write_bytes(good)
    _is_well(store)


def test_cut_off(store: SqliteStore, path: Path) -> None:
    """An empty file in its place is no new store: what was spent is not forgotten by that."""
    store.close()
    good = path.read_bytes()
    path.write_bytes(b"")
    _fails(store, "is no store of budgets")
    path.write_bytes(good)
    _is_well(store)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(512))


def _take_on(store: SqliteStore) -> None:
    """Of two accounts at a time, one of them new, so that the file grows."""
    for number in range(1000):
        store.take([Want(account("bob", limit=2000), 1, 1), Want(account(f"n{number}"), 1, 1)])


def test_full_disk(small: Path) -> None:
    """No room for one more page: nothing is taken, by halves neither; with room again, all goes on."""
    store = SqliteStore(small / "budgets.db")
    take(store, 3, account())
    _fill(small / "filler1")
    with pytest.raises(StoreError, match=r"budgets\.db: (database or disk is full|disk I/O error)$"):
        _take_on(store)
    _fill(small / "filler2")
    with pytest.raises(StoreError, match=r"other\.db: [^\n]+$"):
        SqliteStore(small / "other.db")
    assert sorted(file.name for file in small.glob("other*")) == []
    (small / "filler1").unlink()
    (small / "filler2").unlink()
    left = spent(store)
    assert left["ann", WINDOW] == 3
    assert left.get(("bob", WINDOW), 0) == len([name for name, _ in left if name.startswith("n")])
    assert take(store, 1, account()) == 1
    store.close()


def test_read_only_disk(small: Path) -> None:
    """A disk that has become read-only, as after an error of its own: nothing is taken; then all goes on."""
    store = SqliteStore(small / "budgets.db")
    take(store, 3, account())
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    _fails(store)
    with pytest.raises(StoreError, match="Read-only file system"):
        SqliteStore(small / "other.db")
    subprocess.run(["mount", "-o", "remount,rw", small], check=True)
    _is_well(store)
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_read_only_file(store: SqliteStore, path: Path) -> None:
    """A file that we may no longer write to: nothing is taken; then all goes on."""
    store.close()
    path.chmod(0o400)
    _fails(store)
    path.chmod(0o600)
    _is_well(store)
