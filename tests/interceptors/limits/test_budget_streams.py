"""Streams that ask models of several prices, against a slow and obvious sum."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.prices import Prices, tariff
from guardhouse.interceptors.limits.budget.units import Clamps, amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.methods import MODEL_STREAM_INFER
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.interceptors.usage import Usage, add
from guardhouse.protos import inference_pb2

from .driving import NOON, Driven

CLAMPS = Clamps(response=1000, seconds=60.0, tokens=400)
LISTED = {
    "llm": {"input_tokens": 2, "output_tokens": 10},
    "plain": {"bytes": 3},
    "timed": {"calls": 7, "seconds": 1000},
    "mixed": {"tokens": 5, "bytes": 1, "rows": 4},
    "sized": {"elements": 3},
}
PRICES = Prices("USD", {model: tariff(prices) for model, prices in LISTED.items()})
AMOUNTS = ("1000 USD/day", "100000000 tokens/day", "100GiB/day", "1000000 seconds/day", "100000 calls/day")
QUERY = inference_pb2.ModelInferRequest()
QUERY.inputs.add(name="x", datatype="FP32", shape=[1])

# Of an answer's message: tokens in and out that were told before it left, some beyond all clamps; its bytes.
ANSWER = st.tuples(st.integers(1, 50), st.integers(1, 600), st.integers(0, 300))
Message = tuple[str, int, list[tuple[int, int, int]]]
MESSAGE = st.tuples(
    st.sampled_from(sorted(LISTED)), st.integers(1, 200), st.lists(ANSWER, min_size=1, max_size=3)
)


def stream(texts: list[str]) -> Call:
    """A call that budgets of these amounts count."""
    budgets = tuple(Budget(name=f"b{place}", per=(), amount=amount(text)) for place, text in enumerate(texts))
    grant = Grant([Role("r")], Limits(budgets=budgets))
    return Call(MODEL_STREAM_INFER, (), True, 0, 0, principal=Principal(name="me"), grant=grant, wall=NOON)


def played(bench: Driven, call: Call, messages: list[Message]) -> Fraction:
    """Send *messages* and take their answers; what they cost in billionths, but for time."""
    money = Fraction(0)
    for model, size, answers in messages:
        before, had = call.request_bytes + call.response_bytes, call.usage or Usage()
        call.model, call.raw = model, b"x" * size
        call.request_bytes += size
        assert bench.ask(call, QUERY) == ""
        for taken, given_, more in answers:
            add(call, taken, given_)
            assert bench.answer(call) == ""
            call.response_bytes += more
        now = call.usage or Usage()
        real = {
            "input_tokens": now.input - had.input,
            "output_tokens": now.output - had.output,
            "tokens": sum(now) - sum(had),
            "bytes": call.request_bytes + call.response_bytes - before,
            **dict.fromkeys(("calls", "rows", "elements"), 1),
        }
        money += sum(price * real[unit] for unit, price in LISTED[model].items() if unit != "seconds")
    return money


@given(
    texts=st.lists(st.sampled_from(AMOUNTS), min_size=1, unique=True),
    messages=st.lists(MESSAGE, min_size=1, max_size=6),
    model_ms=st.integers(1, 5000),
)
def test_a_stream_costs_what_its_messages_cost(
    texts: list[str], messages: list[Message], model_ms: int
) -> None:
    """Each at the price of its model, however models change; never less, and at most a billionth more."""
    bench, call = Driven(MemoryStore(), ahead=False, clamps=CLAMPS, prices=PRICES), stream(texts)
    money = played(bench, call, messages)
    if any(model == "timed" for model, *_ in messages):
        money += Fraction(1000 * model_ms, 1000)
    bench.end(call, model_ms=model_ms)
    bench.till.close()
    slow = {
        "USD/day": money,
        "tokens/day": sum(call.usage or ()),
        "bytes/day": call.request_bytes + call.response_bytes,
        "seconds/day": model_ms,
        "calls/day": len(messages),
    }

    for account, paid in bench.spent().items():
        kind = account.partition("@")[0].split()[1]
        assert 0 <= paid - slow[kind] <= (len(messages) if kind == "USD/day" else 0)
