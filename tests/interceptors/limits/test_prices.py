"""Money: as it is written, what models cost, and what a call comes to."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.limits.budget.charges import CUT_OFF, charge, costs, fixed, lines
from guardhouse.interceptors.limits.budget.money import NANO, decimal, nano
from guardhouse.interceptors.limits.budget.prices import PRICED, Prices, Tariff, tariff
from guardhouse.interceptors.limits.budget.units import MOST, Amount, Clamps, amount, format_amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores import Account
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.usage import Usage
from guardhouse.protos import inference_pb2

CLAMPS = Clamps(response=500, seconds=2.0, tokens=400)
ACCOUNT = Account("b USD/day", "2026-11-27", 10**12, 0.0)
MONEY = Budget(name="b", amount=Amount(10**12, "USD", "day"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("25", 25 * NANO),
        ("0.50", NANO // 2),
        ("0.000002", 2000),
        ("0.000000001", 1),
        ("1.100000000000", 1_100_000_000),
    ],
)
def test_money_is_read_to_the_last_digit(text: str, count: int) -> None:
    """0.1 is no float: a billionth is the smallest there is."""
    assert nano(text) == count


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", ".5", "5.", "1e-6", "2.0e-6", "1_000", "01", "1,5", "nan", "٣"]
)
def test_what_is_no_sum_is_refused(text: str) -> None:
    """The error repeats it and shows a right one."""
    with pytest.raises(ValueError, match="is not a sum of money; write it like"):
        nano(text)


def test_what_is_too_fine_is_refused() -> None:
    """Nothing is rounded in silence."""
    with pytest.raises(ValueError, match="write at most 9 digits after the point"):
        nano("0.0000000001")


@given(count=st.integers(0, MOST))
def test_money_is_written_as_it_is_read(count: int) -> None:
    """`decimal` and `nano` are each other's inverse."""
    assert nano(decimal(count)) == count


@given(count=st.integers(1, MOST), period=st.sampled_from(["hour", "day", "month"]))
def test_an_amount_of_money_is_written_as_it_is_read(count: int, period: str) -> None:
    """In the currency, never in billionths."""
    money = Amount(count, "EUR", period)

    assert amount(format_amount(money)) == money


def test_amounts_of_money_are_for_people() -> None:
    """No point where there is nothing behind it, and two digits at least where there is."""
    written = ["25 USD/day", "0.50 USD/hour", "12.34 USD/month", "0.0005 USD/hour"]

    assert [format_amount(amount(each)) for each in written] == written


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("0.00 USD/day", "lets nothing through"),
        ("9007200 USD/day", "is more than can be counted; write at most 9007199 USD"),
        ("0.0000000001 USD/day", "is finer than can be counted"),
        ("25 usd/day", "or money like 25 USD"),
        ("$25/day", "or money like 25 USD"),
        ("25.5 calls/day", "is not a budget"),
    ],
)
def test_amounts_of_money_that_are_none(text: str, say: str) -> None:
    """Each says what to write."""
    with pytest.raises(ValueError, match=say):
        amount(text)


def listed(**models: int) -> Prices:
    """A list of prices for a call; "*" is written `any`, "llm-*" `llm`."""
    found = {name: tariff({"calls": price}) for name, price in models.items()}
    wild = [(lambda name: name.startswith("llm-"), found.pop("llm"))] if "llm" in found else []
    anything = found.pop("any", None)
    if anything:
        wild.append((bool, anything))
    return Prices("USD", found, wild, anything)


@pytest.mark.parametrize(("model", "price"), [("digits", 1), ("llm-a", 2), ("other", 3), ("", 3)])
def test_a_name_goes_before_patterns_and_they_in_order(model: str, price: int) -> None:
    """Twice each: the second time it is remembered. A message that names no model has the price of all."""
    prices = listed(llm=2, any=3, digits=1)
    found = [prices.of(model), prices.of(model)]

    assert [each and each.parts for each in found] == [(("calls", price * 1000),)] * 2


def test_a_model_without_a_price_has_none() -> None:
    """Nor has a message without a model, where there is no `*`."""
    assert listed(digits=1).of("other") is None
    assert listed(digits=1, llm=2).of("") is None


TARIFFS = st.dictionaries(
    st.sampled_from([unit for unit in PRICED if unit != "tokens"]), st.integers(0, 10**7), min_size=1
)
WORLD = st.fixed_dictionaries(
    {
        "shape": st.lists(st.integers(0, 5), max_size=3),
        "prompt": st.integers(0, 300),
        "asked": st.none() | st.integers(1, 400),
        "answers": st.integers(0, 1),
        "answer_bytes": st.integers(0, 500),
        "model_ns": st.integers(1, 2 * 10**9),
        "told": st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
        "status": st.sampled_from([StatusCode.OK, StatusCode.CANCELLED, StatusCode.INTERNAL]),
    }
)


def asked_and_settled(world: dict[str, object], list_: Tariff) -> tuple[Call, int, int, dict[str, int]]:
    """A call that keeps to the clamps: itself, what was reserved and paid, and its real units by name."""
    request = inference_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="BOOL", shape=world["shape"])
    request.id = "i" * int(str(world["prompt"]))
    if world["asked"] is not None:
        request.parameters["max_tokens"].int64_param = world["asked"]
    raw = request.SerializeToString()
    call = Call(MODEL_INFER, (), True, 0, 0, raw=raw, request_bytes=len(raw), model="m")
    found = lines(list_, call, request, CLAMPS)
    made = fixed(MONEY, ACCOUNT, list_, call, request) if list_.fixed else charge(MONEY, ACCOUNT, found)
    most = 400 if world["asked"] is None else int(str(world["asked"]))
    call.response_bytes, call.responses = int(str(world["answer_bytes"])), int(str(world["answers"]))
    call.model_ns = int(str(world["model_ns"]))
    call.status = world["status"]
    if world["told"]:
        taken, given = world["told"]
        call.usage = Usage(int(taken * len(raw)), int(given * most))
    cells = 1
    for length in world["shape"]:
        cells *= length
    cut = call.status in CUT_OFF
    untold_output = most if call.responses or not cut else 0
    usage = call.usage or Usage(len(raw), untold_output)
    real = {
        "calls": 1,
        "rows": max(1, *world["shape"][:1], 1),
        "elements": max(1, cells),
        "bytes": len(raw) + call.response_bytes,
        "seconds": ceil(call.model_ns / 10**6),
        "input_tokens": len(raw) if cut and not usage.input else usage.input,
        "output_tokens": untold_output if cut and not usage.output else usage.output,
    }
    return call, made.units, costs([made], call)[0], real


@given(prices=TARIFFS, world=WORLD)
def test_a_call_costs_what_a_slow_list_of_prices_says(
    prices: dict[str, int], world: dict[str, object]
) -> None:
    """Exact fractions, rounded up once; never negative; and never more than was reserved."""
    _, reserved, paid, real = asked_and_settled(world, tariff(prices))
    slow = sum(
        Fraction(price, 1000 if unit == "seconds" else 1) * real[unit] for unit, price in prices.items()
    )

    assert paid == ceil(slow)
    assert 0 <= paid <= reserved


@given(price=st.integers(0, MOST), count=st.integers(0, 10**9))
def test_no_price_makes_more_than_can_be_counted(price: int, count: int) -> None:
    """What is dearer than everything is as dear as everything, and no store has to count beyond."""
    call = Call("/other.Service/Ask", (), True, 0, 0, raw=b"x" * 10, model_ns=count)
    made = charge(MONEY, ACCOUNT, lines(tariff({"bytes": price}), call, b"", Clamps(count, 1.0)))

    assert made.units == min(MOST, price * (10 + count))
