"""What budgets are counted in, and what one message costs. Whole numbers, all of them."""

from __future__ import annotations

import re
from math import ceil, prod
from typing import Any, Final, NamedTuple

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.documents.units import PERIODS as RATE_PERIODS
from guardhouse.interceptors.documents.units import SIZES, WHOLE, Rate, rate, size
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_STREAM_INFER
from guardhouse.interceptors.refusal import Refusal

from .money import CURRENCY, DECIMAL, NANO, decimal, nano
from .windows import PERIODS

UNITS: Final = ("calls", "rows", "elements", "bytes", "seconds", "tokens")
SMALLEST: Final = {"seconds": 1000}  # of a unit, where it is not the unit itself: milliseconds
INFERENCE: Final = (MODEL_INFER, MODEL_STREAM_INFER)
MOST: Final = 2**53 - 1  # every store counts so far exactly
AMOUNT: Final = re.compile(rf"{WHOLE} ({'|'.join(UNITS)})/({'|'.join(PERIODS)})")
UNIT_RATE: Final = re.compile(
    rf"(?:(?P<size>{WHOLE}(?:{'|'.join(SIZES)}))|(?P<count>{WHOLE}) (?P<unit>calls|rows|elements))"
    rf"/(?P<period>{'|'.join(RATE_PERIODS)})"
)
MONEY: Final = re.compile(rf"({DECIMAL}) ({CURRENCY.pattern})/({'|'.join(PERIODS)})")
MAX_TOKENS: Final = "max_tokens"  # the parameter of a request that bounds its answer
DATA: Final = re.compile(rf"({WHOLE}(?:{'|'.join(SIZES)}))/({'|'.join(PERIODS)})")


class Amount(NamedTuple):
    """So much in each window.

    Attributes:
        count: How many; of `seconds`, milliseconds; of money, billionths.
        unit: One of `UNITS`, or a currency: "USD".
        period: One of `windows.PERIODS`.
    """

    count: int  # type: ignore[assignment] # hides tuple.count, which nobody asks of an amount
    unit: str
    period: str


def amount(text: str) -> Amount:
    """The amount in "1000000 elements/day", "3600 seconds/month", "20GiB/day" or "25 USD/day".

    Raises:
        ValueError: With what to write instead.
    """
    if found := DATA.fullmatch(text):
        counted = Amount(size(found[1]), "bytes", found[3])
    elif found := AMOUNT.fullmatch(text):
        counted = Amount(int(found[1]) * SMALLEST.get(found[2], 1), found[2], found[3])
    elif found := MONEY.fullmatch(text):
        counted = Amount(nano(found[1]), found[2], found[3])
    else:
        units = f"{', '.join(UNITS)}, a size like 20GiB, or money like 25 USD"
        message = (
            f"`{text}` is not a budget; write it like 1000000 elements/day"
            f" (units: {units}; periods: {', '.join(PERIODS)})"
        )
        raise ValueError(message)
    if counted.count > MOST:
        most = f"{MOST >> 30}GiB" if counted.unit in UNITS else f"{MOST // NANO} {counted.unit}"
        message = f"`{text}` is more than can be counted; write at most {most}"
        raise ValueError(message)
    if not counted.count:
        message = f"`{text}` lets nothing through; write at least 1, or take the `allow` rule away"
        raise ValueError(message)
    return counted


def format_amount(amount: Amount) -> str:
    """The text that `amount` reads back as the same."""
    return f"{count_words(amount.count, amount.unit)} {amount.unit}/{amount.period}"


def smallest(unit: str) -> int:
    """How many are counted for one of *unit*: a thousand for a second, 10**9 for money."""
    return SMALLEST.get(unit, NANO if CURRENCY.fullmatch(unit) else 1)


def count_words(count: int, unit: str) -> str:
    """*count* of the smallest of *unit*, in whole units: "12", "12.5" of seconds, "0.50" of money."""
    scale = smallest(unit)
    if scale == 1:
        return str(count)
    return decimal(count) if scale == NANO else f"{count / scale:.15g}"


def amount_words(amount: Amount) -> str:
    """How much of a unit, without the window: "12.5 seconds"."""
    return f"{count_words(amount.count, amount.unit)} {amount.unit}"


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
    if counted > MOST:
        message = f"`{text}` is more than can be counted; write at most {MOST >> 30}GiB/{period}"
        raise ValueError(message)
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
    return _elements(request) if unit == "elements" else _rows(request)


class Clamps(NamedTuple):
    """The worst that one message can cost of what is known only afterwards.

    Attributes:
        response: Bytes that an answer may have.
        seconds: Seconds that a call may take. The caller's own deadline does not count: a model that blocks
            knows nothing of it.
        tokens: Tokens that an answer may have, where its request does not say so.
    """

    response: int
    seconds: float
    tokens: int = 4096


def worst(unit: str, call: Call, request: Any, clamps: Clamps) -> int:
    """The most that *request*, a message that was just read, and its answer can cost."""
    if unit in ("calls", "rows", "elements"):
        return message_cost(unit, call, request)
    if unit == "bytes":
        return len(call.raw) + clamps.response
    if unit == "input_tokens":  # a tokenizer makes at most one of each byte, and an id of one is no shorter
        return max(1, len(call.raw))
    if unit == "output_tokens":
        asked = max_tokens(call, request)
        return clamps.tokens if asked is None else asked
    patience = clamps.seconds if call.patience is None else min(call.patience, clamps.seconds)
    return max(1, ceil(patience * 1000))


def _rows(request: Any) -> int:
    """The longest first dimension of an input, at least 1."""
    firsts: list[int] = [tensor.shape[0] for tensor in request.inputs if len(tensor.shape)]
    return max([1, *firsts])


def _elements(request: Any) -> int:
    """Elements of all inputs, however they are packed, at least 1."""
    total, inputs = 0, request.inputs
    for place in range(len(inputs)):  # protobuf's iterators cost more than all else here
        shape = inputs[place].shape
        total += shape[0] if len(shape) == 1 else prod(shape)
    return total or 1


def max_tokens(call: Call, request: Any) -> int | None:
    """The tokens that *request* lets its answer have at most, 1 to `MOST`; None where it does not say so."""
    if call.method not in INFERENCE or MAX_TOKENS not in request.parameters:
        return None
    sent = request.parameters[MAX_TOKENS]
    kind = sent.WhichOneof("parameter_choice")
    asked = getattr(sent, kind) if kind in ("int64_param", "uint64_param") else 0
    return asked if 0 < asked <= MOST else None


def check_max_tokens(call: Call, request: Any, most: int) -> None:
    """Refuse a *request* whose parameter `max_tokens` is no number from 1 to *most*."""
    if call.method in INFERENCE and MAX_TOKENS in request.parameters:
        asked = max_tokens(call, request)
        if asked is None or asked > most:
            say = f"{MAX_TOKENS} must be a whole number from 1 to {most}"
            raise Refusal("PARAMETER_INVALID", say=say)
