"""The rows of the benchmark are whole: each has its program, its base and a name of its own."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.chain import SINKS as MAKERS
from benchmarks.peers import PACKAGES
from benchmarks.rows import PEERS, ROWS, SINKS, Row, chosen


@pytest.mark.parametrize("rows", [ROWS, PEERS], ids=["bench", "peers"])
def test_rows_have_bases_among_them(rows: tuple[Row, ...]) -> None:
    """Names are unique, and every row is compared with one of the same table, which is its own base."""
    known = {row.name: row for row in rows}
    assert len(known) == len(rows)
    assert all(known[row.base].base == row.base for row in rows)
    assert all(known[row.base].plain == row.plain for row in rows), "a base is called in the same way"


@pytest.mark.parametrize("row", [*ROWS, *PEERS], ids=lambda row: row.name)
def test_every_row_has_a_program(row: Row) -> None:
    """The module is there, the package it needs is one that is installed, its sinks can be made."""
    assert find_spec(f"benchmarks.{row.program[0]}") is not None
    assert not row.peer or row.peer in PACKAGES
    named = [word.removeprefix("sinks=") for word in row.program[1:] if word.startswith("sinks=")]
    assert set(filter(None, ",".join(named).split(","))) <= MAKERS.keys()


def test_every_sink_of_ours_has_a_row() -> None:
    """What can be measured alone is; the SDK's sink stands in place of ours."""
    assert MAKERS.keys() - SINKS.keys() == {"stock"}


def test_rows_are_chosen_by_name() -> None:
    """In the order in which they are named; all of them where none is."""
    assert [row.name for row in chosen(ROWS, "chain,bare")] == ["chain", "bare"]
    assert chosen(ROWS, "") == ROWS
    with pytest.raises(ValueError, match="no row fast; there are bare, "):
        chosen(ROWS, "bare,fast")
