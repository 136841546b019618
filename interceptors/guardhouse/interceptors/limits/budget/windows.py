"""Calendar windows in UTC: the hour, the day and the month that a moment is in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

PERIODS: Final = ("hour", "day", "month")


class Window(NamedTuple):
    """One window.

    Attributes:
        name: "2026-11-25T14", "2026-11-25" or "2026-11".
        begins: Seconds since the epoch.
        ends: The same; the first moment that is not in it.
    """

    name: str
    begins: float
    ends: float


def window(period: str, wall: float) -> Window:
    """The window of *period*, one of `PERIODS`, that *wall*, in seconds since the epoch, is in."""
    moment = datetime.fromtimestamp(wall, UTC)
    if period == "hour":
        begins = moment.replace(minute=0, second=0, microsecond=0)
        return _from(begins, begins + timedelta(hours=1), "%Y-%m-%dT%H")
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return _from(midnight, midnight + timedelta(days=1), "%Y-%m-%d")
    first = midnight.replace(day=1)
    return _from(first, (first + timedelta(days=32)).replace(day=1), "%Y-%m")


def _from(begins: datetime, ends: datetime, form: str) -> Window:
    return Window(begins.strftime(form), begins.timestamp(), ends.timestamp())


class Calendar:
    """Windows by period, with a clock that is never set back.

    A clock that jumped ahead and comes back would find the windows of before, with all that was spent in
    them forgotten by then, or open two windows' budgets in one hour: time stands still until it is caught up.
    """

    def __init__(self) -> None:
        self._latest = 0.0
        self._now: dict[str, Window] = {}

    def at(self, period: str, wall: float) -> Window:
        """The window of *period* at *wall*, or that of the latest moment seen."""
        if wall > self._latest:
            self._latest = wall
        known = self._now.get(period)
        if known is None or self._latest >= known.ends:
            known = self._now[period] = window(period, self._latest)
        return known
