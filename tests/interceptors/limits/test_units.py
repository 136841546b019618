"""Amounts as people write them, and what a message costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.limits.budget.units import (
    UNITS,
    Amount,
    Clamps,
    amount,
    format_amount,
    worst,
)
from guardhouse.interceptors.limits.budget.windows import PERIODS
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.protos import inference_pb2

CLAMPS = Clamps(response=1000, seconds=60.0)


def call(**facts: object) -> Call:
    method = facts.pop("method", MODEL_INFER)
    return Call(str(method), (), True, 0, 0, **facts)


def query(*shapes: list[int]) -> inference_pb2.ModelInferRequest:
    request = inference_pb2.ModelInferRequest(model_name="m")
    for place, shape in enumerate(shapes):
        request.inputs.add(name=f"x{place}", datatype="FP32", shape=shape)
    return request


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1000000 elements/day", Amount(1_000_000, "elements", "day")),
        ("1 calls/hour", Amount(1, "calls", "hour")),
        ("3600 seconds/month", Amount(3_600_000, "seconds", "month")),
        ("20GiB/day", Amount(20 * 2**30, "bytes", "day")),
        ("5000 bytes/hour", Amount(5000, "bytes", "hour")),
    ],
)
def test_amounts_are_read(text: str, read: Amount) -> None:
    """A number, a unit and a window; bytes also as a size. Seconds are counted in milliseconds."""
    assert amount(text) == read


@pytest.mark.parametrize(
    "text", ["", "100", "100/day", "100 elements", "100elements/day", "-1 calls/day", "1.5 calls/day"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """The error repeats what was written, and shows a right one."""
    with pytest.raises(ValueError, match="is not a budget; write it like 1000000 elements/day"):
        amount(text)


def test_a_budget_of_nothing_is_refused() -> None:
    """Zero is a slip, or a deny rule that should be one."""
    with pytest.raises(ValueError, match="lets nothing through"):
        amount("0 calls/day")


def test_a_budget_over_what_stores_count_is_refused() -> None:
    """No store could take from it: every call would fail. The largest that is allowed is said."""
    assert amount("8388607GiB/day").count < 2**53
    with pytest.raises(ValueError, match="more than can be counted; write at most 8388607GiB"):
        amount("8388608GiB/day")


@given(count=st.integers(1, 10**11), unit=st.sampled_from(UNITS), period=st.sampled_from(PERIODS))
def test_an_amount_is_written_as_it_is_read(count: int, unit: str, period: str) -> None:
    """`format_amount` and `amount` are each other's inverse."""
    read = amount(f"{count} {unit}/{period}")

    assert amount(format_amount(read)) == read


@pytest.mark.parametrize(
    ("unit", "request_", "costs"),
    [
        ("calls", query([3, 4]), 1),
        ("rows", query([3, 4], [5, 1]), 5),
        ("rows", query([]), 1),
        ("rows", query([0, 7]), 1),
        ("elements", query([3, 4], [5, 2]), 22),
        ("elements", query([]), 1),
        ("elements", query([0]), 1),
    ],
)
def test_a_message_costs_what_is_in_it(unit: str, request_: object, costs: int) -> None:
    """By the shapes it claims, which validation has compared with its bytes; never less than one."""
    assert worst(unit, call(raw=b"abc"), request_, CLAMPS) == costs


@pytest.mark.parametrize("unit", ["rows", "elements"])
@pytest.mark.parametrize("foreign", [b"anything", query([1000], [-1000]), object()])
def test_a_message_of_another_service_counts_as_one(unit: str, foreign: object) -> None:
    """Nobody has validated it: what it claims is not believed, whatever its fields are called."""
    assert worst(unit, call(method="/other.Service/Ask"), foreign, CLAMPS) == 1


@pytest.mark.parametrize(
    ("facts", "milliseconds"),
    [
        ({}, 60_000),
        ({"patience": 5.0}, 5000),
        ({"remaining": 0.2, "patience": 5.0}, 5000),
        ({"patience": 0.0}, 1),
    ],
)
def test_the_worst_of_time_is_the_servers_deadline(facts: dict[str, float], milliseconds: int) -> None:
    """Not the caller's, which a blocking model knows nothing of."""
    assert worst("seconds", call(**facts), query(), CLAMPS) == milliseconds


def test_bytes_are_those_of_the_message_and_of_the_largest_answer() -> None:
    """An answer's size is known only afterwards."""
    assert worst("bytes", call(raw=b"abc"), query(), CLAMPS) == 1003
