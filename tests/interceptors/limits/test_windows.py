"""Windows of the calendar: where they begin and end, and a clock that jumps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.limits.budget.windows import PERIODS, Calendar, window

HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "moment", "name", "ends"),
    [
        ("hour", "2026-11-25T14:59:59.999", "2026-11-25T14", "2026-11-25T15:00"),
        ("hour", "2026-12-31T23:00", "2026-12-31T23", "2027-01-01T00:00"),
        ("day", "2026-11-25T00:00", "2026-11-25", "2026-11-26T00:00"),
        ("day", "2028-02-28T12:00", "2028-02-28", "2028-02-29T00:00"),
        ("month", "2026-01-31T23:59:59", "2026-01", "2026-02-01T00:00"),
        ("month", "2026-12-01T00:00", "2026-12", "2027-01-01T00:00"),
        ("month", "2028-02-29T00:00", "2028-02", "2028-03-01T00:00"),
    ],
)
def test_windows_are_those_of_the_calendar(period: str, moment: str, name: str, ends: str) -> None:
    """Hours, days and months in UTC, leap days and the ends of years included."""
    found = window(period, at(moment))

    assert (found.name, found.ends) == (name, at(ends))


@given(period=st.sampled_from(PERIODS), wall=st.floats(0, 4e9))
def test_windows_touch_and_do_not_overlap(period: str, wall: float) -> None:
    """Every moment is in exactly one window; the next one begins where it ends."""
    found = window(period, wall)

    assert found.begins <= wall < found.ends
    assert window(period, found.ends).begins == found.ends
    assert window(period, found.begins) == found


@given(jumps=st.lists(st.floats(-2 * HOUR, 2 * HOUR), max_size=20), period=st.sampled_from(PERIODS))
def test_a_clock_that_jumps_never_comes_back_to_a_window(jumps: list[float], period: str) -> None:
    """Whatever the clock does, windows only ever follow one another."""
    calendar, wall, begins = Calendar(), at("2026-11-30T23:30"), 0.0
    for jump in jumps:
        wall += jump
        found = calendar.at(period, wall)
        assert found.begins >= begins
        begins = found.begins
