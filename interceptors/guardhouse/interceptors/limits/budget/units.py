"""What budgets are counted in, and what one message costs. Whole numbers, all of them."""

from __future__ import annotations

import re
from math import ceil
from typing import Any, Final, NamedTuple

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.documents.units import PERIODS as RATE_PERIODS
from guardhouse.interceptors.documents.units import SIZES, WHOLE, Rate, rate, size
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_STREAM_INFER

from .windows import PERIODS

UNITS: Final = ("calls", "rows", "elements", "bytes", "seconds")
SMALLEST: Final = {"seconds": 1000}  # of a unit, where it is not the unit itself: milliseconds
INFERENCE: Final = (MODEL_INFER, MODEL_STREAM_INFER)
MOST: Final = 2**53 - 1  # every store counts so far exactly
AMOUNT: Final = re.compile(rf"{WHOLE} ({'|'.join(UNITS)})/({'|'.join(PERIODS)})")
UNIT_RATE: Final = re.compile(
    rf"(?:(?P<size>{WHOLE}(?:{'|'.join(SIZES)}))|(?P<count>{WHOLE}) (?P<unit>calls|rows|elements))"
    rf"/(?P<period>{'|'.join(RATE_PERIODS)})"
)
DATA: Final = re.compile(rf"({WHOLE}(?:{'|'.join(SIZES)}))/({'|'.join(PERIODS)})")


class Amount(NamedTuple):
    """So much in each window.

    Attributes:
        count: How many; of `seconds`, milliseconds.
        unit: One of `UNITS`.
        period: One of `windows.PERIODS`.
    """

    count: int  # type: ignore[assignment] # hides tuple.count, which nobody asks of an amount
    unit: str
    period: str


def amount(text: str) -> Amount:
    """The amount in "1000000 elements/day", "5000 calls/hour", "3600 seconds/month" or "20GiB/day".

    Raises:
        ValueError: With what to write instead.
    """
    if found := DATA.fullmatch(text):
        counted = Amount(size(found[1]), "bytes", found[3])
    elif found := AMOUNT.fullmatch(text):
        counted = Amount(int(found[1]) * SMALLEST.get(found[2], 1), found[2], found[3])
    else:
        message = (
            f"`{text}` is not a budget; write it like 1000000 elements/day"
            f" (units: {', '.join(UNITS)}, or a size like 20GiB; periods: {', '.join(PERIODS)})"
        )
        raise ValueError(message)
    if counted.count > MOST:
        message = f"`{text}` is more than can be counted; write at most {MOST >> 30}GiB"
        raise ValueError(message)
    if not counted.count:
        message = f"`{text}` lets nothing through; write at least 1, or take the `allow` rule away"
        raise ValueError(message)
    return counted


def format_amount(amount: Amount) -> str:
    """The text that `amount` reads back as the same."""
    return f"{amount.count // SMALLEST.get(amount.unit, 1)} {amount.unit}/{amount.period}"


def amount_words(amount: Amount) -> str:
    """How much of a unit, without the window: "12.5 seconds"."""
    return f"{amount.count / SMALLEST.get(amount.unit, 1):.15g} {amount.unit}"


def unit_rate(text: str) -> tuple[Rate, str]:
    """The rate in "100/s", "5000 elements/s", "200 rows/m" or "10MiB/s", and what it counts.

    The burst of calls is one second's worth, at least 1; of other units all of a period, so that a message
    may be as large as that.

    Raises:
        ValueError: With what to write instead.
    """
    found = UNIT_RATE.fullmatch(text)
    if not found:
        return rate(text), "calls"
    counted = size(found["size"]) if found["size"] else int(found["count"])
    unit, period = found["unit"] or "bytes", found["period"]
    if not counted:
        message = f"`{text}` lets nothing through; write at least 1, or take the `allow` rule away"
        raise ValueError(message)
    return Rate(counted, RATE_PERIODS[period], counted), unit


def rate_words(rate: Rate, unit: str) -> str:
    """A rate for people: "100 calls in 1 s, 200 at once"."""
    return f"{rate.count} {unit} in {rate.period} s, {rate.burst} at once"


def message_cost(unit: str, call: Call, request: Any) -> int:
    """What *request*, a message that was just read, has of *unit*, "rows", "elements" or "bytes"."""
    if unit == "bytes":
        return max(1, len(call.raw))
    if unit == "calls" or call.method not in INFERENCE:  # somebody else's message: nothing was validated
        return 1
    return _rows(request) if unit == "rows" else _elements(request)


class Clamps(NamedTuple):
    """The worst that one message can cost of what is known only afterwards.

    Attributes:
        response: Bytes that an answer may have.
        seconds: Seconds that a call may take. The caller's own deadline does not count: a model that blocks
            knows nothing of it.
    """

    response: int
    seconds: float


def worst(unit: str, call: Call, request: Any, clamps: Clamps) -> int:
    """The most that *request*, a message that was just read, and its answer can cost."""
    if unit in ("calls", "rows", "elements"):
        return message_cost(unit, call, request)
    if unit == "bytes":
        return len(call.raw) + clamps.response
    patience = clamps.seconds if call.patience is None else min(call.patience, clamps.seconds)
    return max(1, ceil(patience * 1000))


def _rows(request: Any) -> int:
    """The longest first dimension of an input, at least 1."""
    firsts: list[int] = [tensor.shape[0] for tensor in request.inputs if len(tensor.shape)]
    return max([1, *firsts])


def _elements(request: Any) -> int:
    """Elements of all inputs, however they are packed, at least 1."""
    total = 0
    for tensor in request.inputs:
        count: int = 1
        for length in tensor.shape:
            count *= length
        total += count
    return max(1, total)


def real(unit: str, call: Call, beyond_ns: int = 0) -> int | None:
    """What a settled call has cost; None where that is what its messages were reserved for.

    Input is paid for in full, also by who has left before the answer. *beyond_ns*: how long its work went on
    after its end.
    """
    if unit == "bytes":
        return call.request_bytes + call.response_bytes
    if unit == "seconds":
        return ceil((call.model_ns + beyond_ns) / 1e6)
    return None
