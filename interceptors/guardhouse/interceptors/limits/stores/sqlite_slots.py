"""Who has which slots on one machine, in a SQLite file."""

from __future__ import annotations

import sqlite3
from typing import Final

from . import Hold
from .slots import granted

TABLE: Final = """
CREATE TABLE slots (
    name TEXT NOT NULL,
    process TEXT NOT NULL,
    slots INTEGER NOT NULL,
    moment REAL NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (name, process)
)
"""
INDEX: Final = "CREATE INDEX slots_until ON slots (until)"
LOOKS: Final = 8  # whose time is over that one `hold` drops
# By a clock that was set back, or began anew as the machine did, time goes on from now for those who had some
# left: it must not take them until that clock has caught up.
SET_BACK: Final = """
UPDATE slots SET moment = :now, until = :now + until - moment WHERE name = :name AND moment > :now
"""
OTHERS: Final = """
SELECT COALESCE(SUM(slots), 0) FROM slots WHERE name = ? AND process <> ? AND until > ?
"""
REPLACE: Final = "INSERT OR REPLACE INTO slots (name, process, slots, moment, until) VALUES (?, ?, ?, ?, ?)"
DELETE: Final = "DELETE FROM slots WHERE name = ? AND process = ?"
FORGET: Final = """
DELETE FROM slots WHERE rowid IN (SELECT rowid FROM slots WHERE until <= ? ORDER BY until LIMIT ?)
"""


def hold(database: sqlite3.Connection, process: str, hold: Hold, seconds: float, now: float) -> int:
    """How many slots *process* has, in a transaction that nobody else can write in."""
    database.execute(SET_BACK, {"now": now, "name": hold.name})
    (others,) = database.execute(OTHERS, (hold.name, process, now)).fetchone()
    slots = granted(hold, others)
    if slots:
        database.execute(REPLACE, (hold.name, process, slots, now, now + seconds))
    else:
        database.execute(DELETE, (hold.name, process))
    return slots


def forget(database: sqlite3.Connection, now: float) -> None:
    """Drop some of those whose time is over."""
    database.execute(FORGET, (now, LOOKS))
