"""The table of `guardhouse top`: it fits, it lines up, and nothing in it commands the terminal."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.server.top.table import View, facts, lines
from guardhouse.server.top.tally import Tally
from guardhouse.server.top.window import KEYS, OTHERS, Row

NOW = 1_795_600_800.0
VIEW = View("gate/ledger", NOW, 60.0, "principal")


def tally(calls: int = 120, refused: int = 30) -> Tally:
    made = Tally(units=90, model_us=1_500_000, request_bytes=10, response_bytes=20)
    for number in range(calls):
        made.count({"total_us": 2000, "reason": "RATE" if number < refused else ""})
    return made


ANN = Row("ann", tally(), NOW - 3, "digits ModelInfer", "RATE")


def test_a_table() -> None:
    """What all came to, heads, and a row that says who asks what, how often, and why it was refused."""
    assert lines([ANN, Row("", tally(6, 0), NOW)], VIEW, 98, 24) == [
        "guardhouse top  gate/ledger  2026-11-25T10:00:00Z",
        "last 60 s: 2.1 calls/s, 23.8% refused, 3.0 units/s, model 3.0 s, p50 2.0 ms, p99 2.0 ms",
        "principal                       calls/s  refused  units/s    model      p50      p99   seen  asks",
        "ann                                 2.0       30      1.5    1.5 s   2.0 ms   2.0 ms    3 s  digi~",
        "-                                   0.1        0      1.5    1.5 s   2.0 ms   2.0 ms    0 s  -",
    ]


def test_a_wide_terminal_shows_why() -> None:
    """With room, the latest refusal's reason stands behind what is asked."""
    assert lines([ANN], VIEW, 200, 24)[-1].endswith("  digits ModelInfer RATE")


def test_the_row_of_all_others_is_never_cut_off() -> None:
    """Where there are more rows than lines, the last one shown is that of all others."""
    rows = [Row(f"p{number}", tally(1, 0), NOW) for number in range(50)]
    shown = lines([*rows, Row(OTHERS, tally(), NOW)], VIEW, 100, 10)
    assert len(shown) == 10
    assert shown[-1].startswith(OTHERS)
    assert shown[-2].startswith("p5 ")


names = st.text(max_size=300)


@given(
    st.lists(st.builds(Row, names, st.just(tally()), st.just(NOW), names, names), max_size=12),
    st.integers(1, 250),
    st.integers(1, 30),
    st.sampled_from(KEYS),
    names,
)
def test_it_fits_and_commands_nothing(rows: list[Row], width: int, height: int, by: str, title: str) -> None:
    """Whatever the names and however small the window: printable ASCII, no line too long, none too many."""
    shown = lines(rows, View(title, NOW, 60.0, by), width, height)
    assert len(shown) <= height
    assert all(len(line) <= width for line in shown)
    assert all(" " <= char <= "~" for line in shown for char in line)


def test_facts_for_a_program() -> None:
    """Whole figures, and rates over the seconds that they are about."""
    told = json.loads(json.dumps(facts([ANN], VIEW)))
    figures = {
        "calls": 120,
        "calls_per_second": 2.0,
        "refused": 30,
        "units": 90,
        "request_bytes": 10,
        "response_bytes": 20,
        "model_us": 1_500_000,
        "p50_us": 2021,
        "p99_us": 2021,
    }
    assert told == {
        "time": "2026-11-25T10:00:00Z",
        "seconds": 60.0,
        "by": "principal",
        "total": figures,
        "rows": [
            {
                "principal": "ann",
                **figures,
                "last_seen": "2026-11-25T09:59:57Z",
                "latest": "digits ModelInfer",
                "latest_reason": "RATE",
            }
        ],
    }
