"""Spans in one SQLite file: idempotent, bounded, readable while it is written."""

import os
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from guardhouse.server.traces.spans import COLUMNS, KINDS, Span, from_row, to_row

KEEP = 200_000  # spans; some 200 MB of ours
FORMAT = 1
MARK = 0x47485452  # "GHTR", SQLite's application_id: a store is told from any other database by its header

# seq counts up without gaps (only the oldest are ever deleted), so the newest N are an arithmetic matter.
SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {MARK};
PRAGMA user_version = {FORMAT};
CREATE TABLE IF NOT EXISTS spans (
    seq INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT NOT NULL,
    name TEXT NOT NULL, kind INTEGER NOT NULL,
    start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, status INTEGER NOT NULL, message TEXT NOT NULL,
    trace_state TEXT NOT NULL, flags INTEGER NOT NULL, attributes TEXT NOT NULL, resource TEXT NOT NULL,
    scope TEXT NOT NULL, links TEXT NOT NULL, events TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
) STRICT;
COMMIT;
"""
FIELDS = ", ".join(COLUMNS)
INSERT = (
    f"INSERT INTO spans ({FIELDS}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our own names
    " ON CONFLICT (trace_id, span_id) DO NOTHING"
)
PRUNE = "DELETE FROM spans WHERE seq <= (SELECT max(seq) FROM spans) - ?"
# The newest of a part of a trace, by the index; the caller turns them around.
PART = (
    f"SELECT {FIELDS} FROM spans WHERE trace_id = ? AND seq BETWEEN ? AND ?"  # noqa: S608 - our own names
    " ORDER BY seq DESC LIMIT ?"
)
ARRIVED = "SELECT trace_id, min(seq), max(seq) FROM spans WHERE seq > ? GROUP BY trace_id ORDER BY min(seq)"
# A parent that ought to come: those of servers and consumers are another process's, and may go elsewhere.
WAITING = f"""
SELECT EXISTS (SELECT 1 FROM spans AS child WHERE trace_id = ?1 AND parent_id <> ''
AND kind NOT IN ({KINDS.index("SERVER")}, {KINDS.index("CONSUMER")})
AND NOT EXISTS (SELECT 1 FROM spans WHERE trace_id = ?1 AND span_id = child.parent_id))
"""  # noqa: S608 - our own names
COUNT = "SELECT count(*) FROM spans WHERE trace_id = ? AND seq BETWEEN ? AND ?"
LAST_SEQ = 2**63 - 1
NO_LIMIT = -1  # SQLite's word for it
# Hex digits sort below "g", so this is every id that begins with the prefix, by the index.
BY_PREFIX = "SELECT DISTINCT trace_id FROM spans WHERE trace_id >= ?1 AND trace_id < ?1 || 'g' LIMIT 2"


class StoreError(Exception):
    """The store cannot be used, or not for this; the text is one line for the person at the terminal."""


class EmptyStoreError(StoreError):
    """There is nothing to read yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no traces in {path} yet: start the receiver with `guardhouse traces --follow`")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of one trace: its spans that the store numbered from *first* to *last*."""

    trace_id: str
    first: int
    last: int


def default_path(environment: dict[str, str] | os._Environ[str]) -> Path:
    """Where traces are kept if nobody says otherwise, after the XDG base directory specification."""
    state = Path(environment.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the specification: a relative path is invalid and ignored
        state = Path.home() / ".local" / "state"
    return state / "guardhouse" / "traces.db"


def parse_prefix(text: str) -> str:
    """The beginning of a trace id, in lower case. Raises `StoreError` for anything but 1 to 32 hex digits."""
    if not 1 <= len(text) <= 32 or text.strip("0123456789abcdefABCDEF"):
        raise StoreError("a trace id is up to 32 hex digits: copy its beginning from the list of traces")
    return text.lower()


class Store:
    """An open store. Usable from many threads; one of them at a time."""

    def __init__(self, connection: sqlite3.Connection, keep: int = KEEP) -> None:
        self._connection, self._keep = connection, keep
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, keep: int = KEEP) -> Self:
        """Open for writing; make the file (mode 0600) and its folder. Raises `StoreError`."""
        if keep < 1:
            raise ValueError("a store keeps at least one span")
        with _explained(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _check(path)
            path.chmod(0o600)  # before SQLite makes its side files, which take the same mode
            connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            connection.executescript(SCHEMA)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # outlives a crash of ours, not of the machine
        return cls(connection, keep)

    @classmethod
    def reading(cls, path: Path) -> Self:
        """Open for reading, beside a receiver or without. Raises `StoreError`, also where there is none."""
        with _explained(path):
            if not _check(path):
                raise EmptyStoreError(path)
            address = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(address, timeout=5, uri=True, check_same_thread=False)
            connection.execute("SELECT 1 FROM spans LIMIT 1")
        return cls(connection)

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, spans: Iterable[Span]) -> int:
        """Keep *spans* in one transaction; how many were new. Raises `sqlite3.Error`, having kept none."""
        rows = [to_row(span) for span in spans]
        with self._lock, _transaction(self._connection):
            before = self._connection.total_changes
            self._connection.executemany(INSERT, rows)
            new = self._connection.total_changes - before
            self._connection.execute(PRUNE, (self._keep,))
        return new

    def count_spans(self) -> int:
        """How many spans are kept now."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM spans").fetchone()[0])

    def last_seq(self) -> int:
        """The number of the span received last; 0 if there is none."""
        with self._lock:
            return int(self._connection.execute("SELECT coalesce(max(seq), 0) FROM spans").fetchone()[0])

    def since(self, seq: int) -> list[Arrival]:
        """What came after the span number *seq*, in order of arrival."""
        with self._lock:
            return [Arrival(*row) for row in self._connection.execute(ARRIVED, (seq,))]

    def waits(self, trace_id: str) -> bool:
        """Whether a parent that is named in this trace, and should have come, is not here."""
        with self._lock:
            return bool(self._connection.execute(WAITING, (trace_id,)).fetchone()[0])

    def recent(self, limit: int) -> list[list[Span]]:
        """The *limit* traces that got a span last; the newest is last, as a terminal wants it."""
        newest: dict[str, None] = {}
        with self._lock:
            for (trace_id,) in self._connection.execute("SELECT trace_id FROM spans ORDER BY seq DESC"):
                if len(newest) >= limit:
                    break
                newest.setdefault(trace_id)
        traces = [self.part(trace_id) for trace_id in reversed(newest)]
        return [spans for spans in traces if spans]  # pruned meanwhile

    def trace(self, prefix: str) -> list[Span]:
        """The spans of the trace whose id begins with *prefix*, in order of arrival; none if there is none.

        Raises `StoreError` where the prefix is not hex, or fits more traces than one.
        """
        prefix = parse_prefix(prefix)
        with self._lock:
            found = self._connection.execute(BY_PREFIX, (prefix,)).fetchall()
        if len(found) > 1:
            raise StoreError(f"more than one trace begins with {prefix}: give more of its id")
        return self.part(found[0][0]) if found else []

    def part(self, trace_id: str, first: int = 0, last: int = LAST_SEQ, limit: int = NO_LIMIT) -> list[Span]:
        """The spans of a trace from *first* to *last*, in order of arrival; the newest *limit* of them."""
        with self._lock:
            rows = self._connection.execute(PART, (trace_id, first, last, limit)).fetchall()
        return [from_row(row) for row in reversed(rows)]

    def count_part(self, arrival: Arrival) -> int:
        """How many spans an arrival has, without reading them."""
        where = (arrival.trace_id, arrival.first, arrival.last)
        with self._lock:
            return int(self._connection.execute(COUNT, where).fetchone()[0])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Any failure to open *path*, in one line that names it."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot open the store {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"cannot open the store {path}: {error}") from error


def _check(path: Path) -> bool:
    """Whether *path* is a store (False: missing or empty); raises `StoreError` for somebody else's file."""
    try:
        with path.open("rb") as file:
            header = file.read(72)
    except FileNotFoundError:
        return False
    if not header:
        return False
    if not header.startswith(b"SQLite format 3\0") or _mark(header) != (FORMAT, MARK):
        raise StoreError(f"{path} is not a store of traces: name another with --store")
    return True


def _mark(header: bytes) -> tuple[int, int]:
    """The user version and application id in an SQLite header (https://sqlite.org/fileformat.html, 1.3)."""
    version, _, mark = struct.unpack_from(">3I", header.ljust(72, b"\0"), 60)
    return version, mark
