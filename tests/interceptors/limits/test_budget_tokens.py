"""Budgets in tokens and in money, as their guard keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guardhouse.interceptors import Refusal
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.prices import Prices, tariff
from guardhouse.interceptors.limits.budget.units import Clamps, amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_STREAM_INFER
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.interceptors.usage import add
from guardhouse.protos import inference_pb2

from .driving import NOON, Driven

CLAMPS = Clamps(response=1000, seconds=60.0, tokens=400)
PRICES = Prices(
    "USD",
    {
        "llm": tariff({"input_tokens": 2, "output_tokens": 10}),
        "dear": tariff({"tokens": 1000}),
        "digits": tariff({"calls": 1_000_000}),
        "timed": tariff({"seconds": 10**9}),
    },
)


def budget(text: str, *per: str, name: str = "b", shadow: bool = False) -> Budget:
    return Budget(name=name, amount=amount(text), per=per, shadow=shadow)


def call(*budgets: Budget, model: str = "llm", prompt: int = 100, method: str = MODEL_INFER) -> Call:
    """A call whose message has *prompt* bytes."""
    grant = Grant([Role("r")], Limits(budgets=budgets))
    who = Principal(name="me")
    made = Call(method, (), True, 0, 0, principal=who, grant=grant, wall=NOON, model=model)
    made.raw = b"x" * prompt
    return made


def query(max_tokens: object = None) -> inference_pb2.ModelInferRequest:
    request = inference_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    if max_tokens is not None:
        kind = {int: "int64_param", float: "double_param", str: "string_param", bool: "bool_param"}
        setattr(request.parameters["max_tokens"], kind[type(max_tokens)], max_tokens)
    return request


class Bench(Driven):
    """A guard with prices over a store in memory, asked ahead or not."""

    def __init__(self, *, ahead: bool) -> None:
        super().__init__(MemoryStore(), ahead=ahead, clamps=CLAMPS, prices=PRICES)

    def ask(self, call: Call, request: object) -> str:
        call.request_bytes += len(call.raw)
        return super().ask(call, request)

    def all_spent(self) -> int:
        """Of all budgets, once nobody holds anything."""
        self.till.close()
        return sum(self.spent().values())


@pytest.fixture(params=[False, True], ids=["memory", "store"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(ahead=request.param)
    yield made
    made.till.close()


def test_a_call_pays_for_the_tokens_that_its_model_tells(bench: Bench) -> None:
    """Reserved are the bytes of the message and the most that an answer may have; the rest comes back."""
    asked = call(budget("600 tokens/day"))

    assert bench.ask(asked, query()) == ""
    add(asked, 20, 30)
    bench.end(asked)
    assert bench.all_spent() == 50


def test_a_budget_lets_in_no_call_that_it_could_not_pay_for(bench: Bench) -> None:
    """The worst case is reserved first: five at once cannot spend what is there for one."""
    day = budget("999 tokens/day")
    reasons = [bench.ask(call(day), query()) for _ in range(5)]

    assert reasons == ["", *["BUDGET_EXHAUSTED"] * 4]


def test_the_caller_may_bound_its_answer(bench: Bench) -> None:
    """With `max_tokens` less is reserved, so that more calls fit."""
    day = budget("1000 tokens/day")

    assert [bench.ask(call(day), query(100)) for _ in range(6)] == [""] * 5 + ["BUDGET_EXHAUSTED"]


@pytest.mark.parametrize("asked", [401, 0, -1, -(2**63), 2**63 - 1, 4.0, "400", True])
def test_an_answer_beyond_the_clamp_is_refused_first(bench: Bench, asked: object) -> None:
    """Nothing is reserved for it, and what the model would do with it is not tried."""
    refused = call(budget("100000 tokens/day"))

    assert bench.ask(refused, query(asked)) == "PARAMETER_INVALID"
    assert refused.refusal is not None
    assert refused.refusal.words.endswith("max_tokens must be a whole number from 1 to 400")
    assert bench.all_spent() == 0


def test_money_by_tokens_clamps_too_and_by_calls_does_not(bench: Bench) -> None:
    """Only what is counted in tokens has to be bounded in tokens; and nothing has to in shadow."""
    day, shadow = budget("25 USD/day"), budget("25 USD/day", name="s", shadow=True)

    assert bench.ask(call(day, model="llm"), query(401)) == "PARAMETER_INVALID"
    assert bench.ask(call(day, model="digits"), query(401)) == ""
    assert bench.ask(call(shadow, model="llm"), query(401)) == ""


def test_a_model_that_tells_nothing_costs_all_that_was_reserved(bench: Bench) -> None:
    """Absence is never worth more: also where it failed."""
    quiet, failed = call(budget("10000 tokens/day")), call(budget("10000 tokens/day"))
    bench.ask(quiet, query())
    bench.end(quiet)
    bench.ask(failed, query(50))
    bench.end(failed, refusal=Refusal("MODEL_FAILED"))

    assert bench.all_spent() == 500 + 150


@pytest.mark.parametrize("reason", ["CANCELLED", "DEADLINE_EXCEEDED"])
def test_who_leaves_pays_for_the_input(bench: Bench, reason: str) -> None:
    """What was told; and where nothing was, the most that the input can have been."""
    untold, told = call(budget("10000 tokens/day")), call(budget("10000 tokens/day"))
    bench.ask(untold, query())
    bench.end(untold, refusal=Refusal(reason))
    bench.ask(told, query())
    add(told, 7, 3)
    bench.end(told, refusal=Refusal(reason))

    assert bench.all_spent() == 100 + 10


def test_a_call_that_never_came_to_the_model_pays_nothing(bench: Bench) -> None:
    """A guard behind refused it; or it waited for its turn, in vain."""
    asked, waited = call(budget("10000 tokens/day")), call(budget("10000 tokens/day"))
    bench.ask(asked, query())
    bench.chain.settle(asked, Refusal("TENSOR_UNKNOWN"))
    bench.ask(waited, query())
    waited.queue_ns = 10**9
    bench.chain.settle(waited, Refusal("OVERLOADED"))

    assert bench.all_spent() == 0


def test_what_a_model_tells_when_its_caller_has_left_is_charged(bench: Bench) -> None:
    """A blocking model works on in its thread: the call is settled when that has ended."""
    asked = call(budget("10000 tokens/day"))
    bench.ask(asked, query())
    assert asked.work is not None
    asked.work.hold("thread")
    bench.end(asked, refusal=Refusal("CANCELLED"))
    add(asked, 20, 300)
    asked.work.let_go("thread")

    assert bench.all_spent() == 320


def test_more_than_was_reserved_is_charged_as_far_as_there_is_any(bench: Bench) -> None:
    """A model that does not keep to its bound spends what is left, and no budget goes below nothing."""
    over, far_over = call(budget("1000 tokens/day")), call(budget("1000 tokens/day"))
    bench.ask(over, query(100))
    add(over, 100, 400)
    bench.end(over)
    bench.ask(far_over, query(100))
    add(far_over, 100, 10**6)
    bench.end(far_over)
    bench.till._pay_debts()

    assert bench.all_spent() == 1000


def test_a_stream_stops_when_its_budget_does(bench: Bench) -> None:
    """Tokens beyond those reserved must be there before the next message leaves."""
    asked = call(budget("160 tokens/day"), method=MODEL_STREAM_INFER)
    assert bench.ask(asked, query(10)) == ""
    reasons = []
    add(asked, 100, 0)
    for _ in range(9):
        add(asked, 0, 10)
        reasons.append(bench.answer(asked))
        if reasons[-1]:
            break

    assert reasons == [""] * 6 + ["BUDGET_EXHAUSTED"]
    assert bench.all_spent() == 160


def test_what_a_stream_took_beyond_is_paid_once(bench: Bench) -> None:
    """Reserved in two parts, by message and by need; settled to what was told."""
    asked = call(budget("10000 tokens/day"), method=MODEL_STREAM_INFER)
    bench.ask(asked, query(10))
    for _ in range(5):
        add(asked, 30, 25)
        assert bench.answer(asked) == ""
    bench.end(asked)

    assert bench.all_spent() == 5 * 55


def test_each_message_of_a_stream_reserves_and_pays(bench: Bench) -> None:
    """Each for its own model, where models have budgets of their own."""
    day = budget("10000 tokens/day", "model")
    asked = call(day, method=MODEL_STREAM_INFER)
    for model, taken in (("llm", 5), ("dear", 7), ("llm", 11)):
        asked.model = model
        assert bench.ask(asked, query()) == ""
        add(asked, taken, 1)
        bench.answer(asked)
    bench.end(asked)
    bench.till.close()

    assert {entry.name: entry.spent for entry in bench.store.entries()} == {
        "b tokens/day model=llm": 5 + 11 + 2,
        "b tokens/day model=dear": 7 + 1,
    }


def test_who_leaves_a_stream_pays_for_every_message_it_sent(bench: Bench) -> None:
    """Also for the last, of which the model has told nothing yet."""
    asked = call(budget("10000 tokens/day"), method=MODEL_STREAM_INFER)
    bench.ask(asked, query())
    add(asked, 5, 1)
    bench.answer(asked)
    bench.ask(asked, query())
    bench.end(asked, refusal=Refusal("CANCELLED"))

    assert bench.all_spent() == 6 + 100


def test_who_leaves_once_an_answer_has_left_pays_for_it(bench: Bench) -> None:
    """A model may tell its tokens with its last message: to leave before that is not cheaper."""
    untold, told = call(budget("10000 tokens/day")), call(budget("10000 tokens/day"))
    for asked in (untold, told):
        asked.method = MODEL_STREAM_INFER
        bench.ask(asked, query(50))
        bench.answer(asked)
    add(told, 20, 7)
    bench.end(untold, refusal=Refusal("CANCELLED"))
    bench.end(told, refusal=Refusal("CANCELLED"))

    assert bench.all_spent() == 100 + 50 + 27


@pytest.mark.parametrize("reason", [None, "CANCELLED"])
def test_what_one_model_tells_does_not_make_another_free(bench: Bench, reason: str | None) -> None:
    """Of a stream that asks two models, the one that tells nothing costs all that was reserved for it."""
    asked = call(budget("10000 tokens/day", "model"), method=MODEL_STREAM_INFER)
    for model in ("llm", "quiet", "llm"):
        asked.model = model
        assert bench.ask(asked, query(50)) == ""
        if model == "llm":
            add(asked, 7, 3)
        assert bench.answer(asked) == ""
    bench.end(asked, refusal=reason and Refusal(reason))
    bench.till.close()

    assert {entry.name: entry.spent for entry in bench.store.entries()} == {
        "b tokens/day model=llm": 20,
        "b tokens/day model=quiet": 150,
    }


def test_money_is_the_sum_of_the_prices(bench: Bench) -> None:
    """2 for a token of input and 10 for one of output, in billionths; the rest comes back."""
    asked = call(budget("0.00001 USD/day"), prompt=1000)

    assert bench.ask(asked, query()) == ""
    assert bench.ask(call(budget("0.00001 USD/day"), prompt=1000), query()) == "BUDGET_EXHAUSTED"
    add(asked, 300, 40)
    bench.end(asked)
    assert bench.all_spent() == 300 * 2 + 40 * 10


def test_the_refusal_tells_money_in_its_currency(bench: Bench) -> None:
    """Never in billionths; nor is the operator, whose note has the account."""
    asked = call(budget("70.50 USD/day"), model="timed")
    bench.ask(call(budget("70.50 USD/day"), model="timed"), query())

    assert bench.ask(asked, query()) == "BUDGET_EXHAUSTED"
    assert asked.refusal is not None
    assert asked.refusal.words == "a budget is spent: 60 of USD/day wanted, 10.50 left"
    assert asked.refusal.note == "b USD/day 2026-11-27: 60 wanted, 10.50 of 70.50 left"


def test_a_model_without_a_price_is_denied(bench: Bench) -> None:
    """Nobody knows what it costs, so nobody may spend on it; trying again does not help."""
    asked = call(budget("25 USD/day"), model="other")

    assert bench.ask(asked, query()) == "MODEL_UNPRICED"
    assert asked.refusal is not None
    assert (asked.refusal.code.name, asked.refusal.retry_after) == ("PERMISSION_DENIED", None)
    assert asked.refusal.note == "b counts USD, and there is no price for `other`"
    assert bench.ask(call(budget("25 calls/day"), model="other"), query()) == ""


def test_a_model_without_a_price_is_told_of_in_shadow(bench: Bench) -> None:
    """The call goes on; its record has the budget that would have refused it."""
    asked = call(budget("25 USD/day", name="s", shadow=True), model="other")

    assert bench.ask(asked, query()) == ""
    assert asked.shadow == "s"


def test_a_stream_over_two_models_pays_each_its_price(bench: Bench) -> None:
    """From one budget of money: a cheap message does not make the next one cheap."""
    asked = call(budget("25 USD/day"), method=MODEL_STREAM_INFER)
    for model, taken in (("llm", 10), ("dear", 10), ("digits", 10)):
        asked.model = model
        assert bench.ask(asked, query()) == ""
        add(asked, taken, 0)
        bench.answer(asked)
    bench.end(asked)

    assert bench.all_spent() == 10 * 2 + 10 * 1000 + 1_000_000


def test_time_in_money_is_paid_once_for_a_stream(bench: Bench) -> None:
    """Its deadline is one for all of its messages; two seconds at one each are two."""
    asked = call(budget("100 USD/day"), model="timed", method=MODEL_STREAM_INFER)
    reasons = [bench.ask(asked, query()) for _ in range(3)]
    bench.end(asked, model_ms=2000)

    assert reasons == ["", "", ""]
    assert bench.all_spent() == 2 * 10**9


def test_a_message_of_another_service_can_be_bounded_too(bench: Bench) -> None:
    """It has no parameters that we know: its bytes, and the most that an answer may have."""
    asked = call(budget("499 tokens/day"), method="/other.Service/Ask")

    assert bench.ask(asked, b"x") == "BUDGET_EXHAUSTED"
    assert bench.ask(call(budget("500 tokens/day"), method="/other.Service/Ask"), b"x") == ""


def test_a_call_holds_no_more_attributes_for_it(bench: Bench) -> None:
    """Under 30 keys, a call's dict shares them with all others (CPython)."""
    asked = call(budget("600 tokens/day"))
    before = len(vars(asked))
    bench.ask(asked, query())

    assert len(vars(asked)) <= before + 3  # two counters of messages, and the work that is watched
