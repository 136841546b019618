"""The sliding window: the same as counting by hand, and bounded whatever comes."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.server.top.tally import Tally, time_class
from guardhouse.server.top.window import MOST_ROWS, OTHERS, SLOTS, Row, Window, total

START = 1_795_600_800.0  # 2026-11-25T10:00:00Z
Entry = dict[str, Any]


def entry(at: float, principal: str = "ann", **facts: Any) -> Entry:
    """A call that ended at *at* seconds after `START`, having taken no time."""
    time = datetime.fromtimestamp(START + at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"kind": "query", "time": time, "principal": principal, "units": 1, "total_us": 0, **facts}


def by_name(rows: list[Row]) -> dict[str, Tally]:
    return {row.name: row.tally for row in rows}


calls = st.builds(
    entry,
    st.integers(0, 300),
    st.sampled_from(["ann", "bob", "", "eve"]),
    units=st.integers(0, 5),
    reason=st.sampled_from(["", "RATE"]),
    request_bytes=st.integers(0, 100),
    response_bytes=st.integers(0, 100),
    model_us=st.integers(0, 1000),
)


@given(st.lists(st.tuples(calls, st.integers(0, 20)), max_size=60), st.integers(0, 400))
def test_the_rows_are_those_of_counting_by_hand(taken: list[tuple[Entry, int]], later: int) -> None:
    """Entries come in any order and late; the rows hold just those of the seconds that they are about."""
    window, naive, now = Window(60, "principal"), list[tuple[float, Entry]](), START
    for each, delay in taken:
        ended = datetime.fromisoformat(each["time"]).timestamp()
        now = max(now, ended + delay)
        window.take(each, now)
        naive.append((ended, each))
    now = max(now, START + later)
    rows, begin = window.rows(now), now - window.covered(now)
    wanted: dict[str, Tally] = defaultdict(Tally)
    for ended, each in naive:
        if ended >= begin:
            wanted[each["principal"]].count(each)
    assert by_name(rows) == wanted
    assert [row.tally.calls for row in rows] == sorted((row.tally.calls for row in rows), reverse=True)
    assert 60 <= window.covered(now) <= 60 + 60 / SLOTS


@given(
    st.lists(st.integers(0, 10**11), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0])
)
def test_quantiles_are_right_to_a_twentieth(times: list[int], share: float) -> None:
    """The quantile is the end of the class in which the exact one is."""
    tally = Tally()
    for time in times:
        tally.count({"total_us": time})
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    told = tally.quantile(share)
    assert told is not None
    if 1 < exact < 5 * 10**10:
        assert exact / 1.001 - 1 <= told <= exact * 1.051 + 1
    assert time_class(told) <= time_class(exact) + 1


@given(st.lists(st.integers(0, 60), max_size=40), st.lists(st.integers(0, 60), max_size=40))
def test_tallies_add_up(one: list[int], other: list[int]) -> None:
    """Counting apart and adding is counting together."""
    first, second, both = Tally(), Tally(), Tally()
    for time in one:
        first.count({"total_us": time, "units": time})
        both.count({"total_us": time, "units": time})
    for time in other:
        second.count({"total_us": time, "reason": "X"})
        both.count({"total_us": time, "reason": "X"})
    first.add(second)
    assert first == both


def test_a_flood_of_principals_does_not_grow_it() -> None:
    """Names are bounded, all calls are still counted, and who calls much is not lost among them."""
    window = Window(60, "principal")
    for number in range(100_000):
        window.take(entry_at(number), START + 20)
    rows = window.rows(START + 20)
    assert len(rows) <= 2 * MOST_ROWS + 1
    assert total(rows).calls == 100_000
    assert rows[0].name == "busy"
    assert rows[0].tally.calls == 1_000
    assert rows[-1].name == OTHERS
    assert sum(len(track.slots) for track in window._tracks.values()) <= 2 * MOST_ROWS * (SLOTS + 1)


def entry_at(number: int) -> Entry:
    """One of a flood of strangers; each hundredth is of somebody who comes again and again."""
    name = "busy" if number % 100 == 0 else f"stranger-{number}"
    return {"kind": "query", "time": f"2026-11-25T10:00:{number % 20:02}Z", "principal": name}


def test_strangers_leave_with_the_window() -> None:
    """The row of all others empties like any other."""
    window = Window(60, "principal")
    for number in range(3 * MOST_ROWS):
        window.take(entry(0, f"p{number}"), START)
    assert window.rows(START)[-1].name == OTHERS
    assert window.rows(START + 70) == []


@pytest.mark.parametrize(
    ("by", "name", "latest"),
    [
        ("principal", "ann", "digits ModelInfer"),
        ("model", "digits", "ann"),
        ("method", "p.S/ModelInfer", "ann"),
        ("reason", "RATE", "ann"),
    ],
)
def test_a_row_tells_who_and_what(by: str, name: str, latest: str) -> None:
    """Each key has the name it is about, the latest that was asked or asked it, and why it was refused."""
    window = Window(60, by)
    window.take(entry(0, model="digits", method="p.S/ModelInfer", reason="RATE"), START)
    (row,) = window.rows(START)
    assert (row.name, row.latest, row.why, row.last_seen) == (name, latest, "RATE", START)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"kind": "gap", "time": "2026-11-25T10:00:00Z"},
        {"kind": "query"},
        {"kind": "query", "time": 7},
        {"kind": "query", "time": "yesterday"},
        entry(-61),
    ],
)
def test_what_is_no_call_of_now_is_not_counted(odd: Entry) -> None:
    """Other kinds, entries without a time, and old ones leave no row."""
    window = Window(60, "principal")
    window.take(odd, START)
    assert window.rows(START) == []


def test_odd_members_count_as_nothing() -> None:
    """Figures of a wrong type, or below nothing, are none; the call is counted."""
    window = Window(60, "principal")
    window.take({**entry(0), "principal": ["x"], "units": "7", "model_us": -5, "request_bytes": True}, START)
    (row,) = window.rows(START)
    assert (row.name, row.tally) == ("", Tally(calls=1, times=row.tally.times))


def test_a_call_counts_when_it_ended() -> None:
    """A long call is of the window in which it ended; a clock that is ahead puts nothing in the future."""
    window = Window(60, "principal")
    window.take(entry(-100, total_us=90_000_000), START)
    window.take(entry(1000), START)
    assert window.rows(START)[0].tally.calls == 2
    assert window.rows(START + 55)[0].tally.calls == 1
    assert window.rows(START + 64) == []
