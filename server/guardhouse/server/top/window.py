"""The last seconds of a ledger, summed by who asked, or for what. Time is an argument; memory is bounded.

A window is cut into slots, and a slot leaves as a whole: what is shown is of the window and up to one slot
more. Of names there are at most twice `MOST_ROWS`: when there are too many, those with the fewest calls go
into one row for all others. So the sums are always whole, and who asks much is seen, however many ask little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from .tally import Tally, number

SLOTS: Final = 20
MOST_ROWS: Final = 256
OTHERS: Final = "(others)"
KEYS: Final = ("principal", "model", "method", "reason")
LONGEST: Final = 200  # characters of a name


@dataclass(frozen=True, slots=True)
class Row:
    """What one name came to within the window.

    Attributes:
        last_seen: Seconds since the epoch.
        latest: What it last asked for, or, of a model or method, who last asked.
        why: The reason of its last refusal in sight, or "".
    """

    name: str
    tally: Tally
    last_seen: float
    latest: str = ""
    why: str = ""


@dataclass(slots=True)
class _Track:
    """One name: its slots by number, at most `SLOTS` and one."""

    slots: dict[int, Tally] = field(default_factory=dict)
    last_seen: float = 0.0
    latest: str = ""
    why: str = ""


class Window:
    """Takes entries, gives rows.

    Args:
        seconds: The length of the window.
        by: One of `KEYS`.
    """

    def __init__(self, seconds: float, by: str) -> None:
        self._slot = seconds / SLOTS
        self._by = by
        self._tracks: dict[str, _Track] = {}
        self._others = _Track()

    def take(self, entry: Mapping[str, Any], now: float) -> None:
        """Count one entry of the ledger, if it is a call that ended in what the rows are about at *now*."""
        ended = _ended(entry)
        if entry.get("kind") != "query" or ended is None:
            return
        ended = min(ended, now)
        slot = math.floor(ended / self._slot)
        if slot < self._first(now):
            return
        name = _text(entry, self._by)
        track = self._tracks.get(name)
        if track is None:
            self._make_room(now)
            track = self._tracks[name] = _Track()
        track.slots.setdefault(slot, Tally()).count(entry)
        track.last_seen = max(track.last_seen, ended)
        track.latest = _latest(entry, self._by)
        track.why = _text(entry, "reason") or track.why

    def rows(self, now: float) -> list[Row]:
        """A row for each name with calls in the window, most calls first; last `OTHERS`, if there are any."""
        self._expire(now)
        rows = [_row(name, track) for name, track in self._tracks.items()]
        rows.sort(key=lambda row: (-row.tally.calls, row.name))
        return [*rows, _row(OTHERS, self._others)] if self._others.slots else rows

    def covered(self, now: float) -> float:
        """The seconds that the rows are about: the window, and what is left of the slot that it began in."""
        return now - self._first(now) * self._slot

    def _first(self, now: float) -> int:
        return math.floor((now - self._slot * SLOTS) / self._slot)

    def _expire(self, now: float) -> None:
        """Forget the slots that have left the window, and the names that have none left."""
        first = self._first(now)
        for track in (*self._tracks.values(), self._others):
            for slot in [slot for slot in track.slots if slot < first]:
                del track.slots[slot]
        self._tracks = {name: track for name, track in self._tracks.items() if track.slots}

    def _make_room(self, now: float) -> None:
        """Where there are too many names, keep those with the most calls, and of equals the latest seen."""
        if len(self._tracks) < 2 * MOST_ROWS:
            return
        self._expire(now)
        ranked = sorted(self._tracks.items(), key=_rank, reverse=True)
        self._tracks = dict(ranked[:MOST_ROWS])
        for _, track in ranked[MOST_ROWS:]:
            _merge(self._others, track)


def total(rows: list[Row]) -> Tally:
    """All *rows* together."""
    whole = Tally()
    for row in rows:
        whole.add(row.tally)
    return whole


def _merge(into: _Track, track: _Track) -> None:
    """Add *track* to *into*, slot by slot."""
    for slot, tally in track.slots.items():
        into.slots.setdefault(slot, Tally()).add(tally)
    into.last_seen = max(into.last_seen, track.last_seen)


def _rank(item: tuple[str, _Track]) -> tuple[int, float]:
    track = item[1]
    return sum(tally.calls for tally in track.slots.values()), track.last_seen


def _row(name: str, track: _Track) -> Row:
    whole = Tally()
    for tally in track.slots.values():
        whole.add(tally)
    return Row(name, whole, track.last_seen, track.latest, track.why)


def _latest(entry: Mapping[str, Any], by: str) -> str:
    if by != "principal":
        return _text(entry, "principal")
    return " ".join(filter(None, (_text(entry, "model"), _text(entry, "method").rpartition("/")[2])))


def _ended(entry: Mapping[str, Any]) -> float | None:
    """When a call ended, in seconds since the epoch: its arrival and what it took."""
    try:
        arrived = datetime.fromisoformat(str(entry.get("time"))).timestamp()
    except (ValueError, OverflowError):
        return None
    return arrived + number(entry, "total_us") / 1e6


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value[:LONGEST] if isinstance(value, str) else ""
