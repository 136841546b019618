"""What the rates of one machine are owed, in a SQLite file."""

from __future__ import annotations

import sqlite3
from typing import Final

from . import Drawn, Drip
from .drips import Debt, drawn, owed

TABLE: Final = """
CREATE TABLE rates (name TEXT PRIMARY KEY, owed REAL NOT NULL, moment REAL NOT NULL, full REAL NOT NULL)
"""
INDEX: Final = "CREATE INDEX rates_full ON rates (full)"
LOOKS: Final = 8  # rates that are full again that one `draw` drops
SELECT: Final = "SELECT owed, moment, full FROM rates WHERE name = ?"
REPLACE: Final = "INSERT OR REPLACE INTO rates (name, owed, moment, full) VALUES (?, ?, ?, ?)"
FORGET: Final = """
DELETE FROM rates WHERE rowid IN (SELECT rowid FROM rates WHERE full <= ? ORDER BY full LIMIT ?)
"""


def draw(database: sqlite3.Connection, drip: Drip, now: float) -> Drawn:
    """What the rate gives, in a transaction that nobody else can write in."""
    row = database.execute(SELECT, (drip.name,)).fetchone()
    debt = Debt(*row) if row else None
    answer, after = drawn(drip, owed(debt, drip.interval, now), now)
    database.execute(REPLACE, (drip.name, *after))
    return answer


def forget(database: sqlite3.Connection, now: float) -> None:
    """Drop some of those that are full again."""
    database.execute(FORGET, (now, LOOKS))
