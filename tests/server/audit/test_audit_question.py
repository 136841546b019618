"""What a time may be written as; and that a question's SQL is the same whatever its values are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.server.audit.question import KEYS, Wanted, listing, moment, sums

NOW = 1_795_600_800.0  # 2026-11-25T10:00:00Z


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1h", "2026-11-25T09:00:00.000000Z"),
        ("7d", "2026-11-18T10:00:00.000000Z"),
        ("90s", "2026-11-25T09:58:30.000000Z"),
        ("999999999999d", "1970-01-01T00:00:00.000000Z"),
        ("2026-11-25T10:00:00Z", "2026-11-25T10:00:00.000000Z"),
        ("2026-11-25T10:00:00.5+01:00", "2026-11-25T09:00:00.500000Z"),
    ],
)
def test_a_time_is_a_moment_or_so_long_ago(text: str, meant: str) -> None:
    """Both forms become the text that the ledger writes, so that texts compare as times do."""
    assert moment(text, NOW) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1",
        "1w",
        "1 h",
        "-1h",
        "2026-11-25",
        "2026-11-25T10:00:00",
        "2026-13-25T10:00:00Z",
        "' OR 1=1 --",
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    """A date alone, or a time without a zone, could mean two moments."""
    with pytest.raises(ValueError, match="write"):
        moment(text, NOW)


names = st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple)


@given(names, names, names, names, st.text(min_size=1), st.sampled_from(["allowed", "refused"]))
def test_no_value_gets_into_the_sql(
    principals: tuple[str, ...],
    models: tuple[str, ...],
    methods: tuple[str, ...],
    reasons: tuple[str, ...],
    time: str,
    decision: str,
) -> None:
    """The text of the SQL depends on which options were given, never on what was given."""
    one = Wanted(time, time, principals, models, methods, reasons, decision)
    other = Wanted("-", "-", ("-",), ("-",), ("-",), ("-",), decision)
    assert listing(one, 7).sql == listing(other, 9).sql
    assert sums(one, tuple(KEYS), 7).sql == sums(other, tuple(KEYS), 9).sql
    assert listing(one, 7).parameters["principals"] == list(principals)
