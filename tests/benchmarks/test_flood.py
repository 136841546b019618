"""`benchmarks.flood`: what it makes of what it has measured."""

from __future__ import annotations

import pytest

from benchmarks.flood import CROWDS, Round, p99, table
from benchmarks.flooding import TIMES, bearer, bodies
from guardhouse.protos import inference_pb2


def test_the_time_that_99_of_a_hundred_do_not_exceed() -> None:
    """The greatest of few, the second of a hundred."""
    assert p99([0.3, 0.1, 0.2]) == 0.3
    assert p99([float(number) for number in range(100)]) == 98.0


def test_the_table_shows_the_median_of_the_rounds() -> None:
    """Of each column by itself; milliseconds, with the ratio of each round."""
    rounds = [
        dict.fromkeys(CROWDS, Round(kept, 0.1, 0.1 * ratio, ratio, 7.0, grown))
        for kept, ratio, grown in ((100.0, 1.5, 3.0), (99.0, 2.5, 1.0), (98.0, 1.0, 2.0))
    ]
    lines = table(rounds).splitlines()
    assert len(lines) == 2 + len(CROWDS)
    assert lines[2] == "| without a token | 99.0 | 100 | 150 | 1.50 | 7 | 2 |"


def test_calls_of_the_flood_are_of_several_lengths() -> None:
    """Each asks for its own; who has no token sends none."""
    asked = [inference_pb2.ModelInferRequest.FromString(body) for body in bodies()]
    assert len({each.raw_input_contents[0] for each in asked}) == len(TIMES)
    assert bearer("") == ()
    assert bearer("x") == (("authorization", "Bearer x"),)


@pytest.mark.parametrize("name", CROWDS)
def test_every_kind_of_flood_is_in_the_table(name: str) -> None:
    """By its name."""
    rounds = [dict.fromkeys(CROWDS, Round(100.0, 0.1, 0.1, 1.0, 0.0, 0.0))]
    assert f"| {name} |" in table(rounds)
