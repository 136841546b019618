"""The guard of budgets: what it reserves, what it gives back, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Chain, Guard, Refusal, Stage
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.charges import Charge, Line, costs
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.prices import PART
from guardhouse.interceptors.limits.budget.units import Clamps, amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores import Account, Short, StoreError, Want, memory
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_METADATA, MODEL_STREAM_INFER, WHO_AM_I
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.protos import inference_pb2

from .driving import NOON, Driven

CLAMPS = Clamps(response=1000, seconds=60.0)


def budget(text: str, *per: str, name: str = "b", **more: bool) -> Budget:
    return Budget(name, per, amount=amount(text), **more)


def call(*budgets: Budget, wall: float = NOON, method: str = MODEL_INFER, **facts: object) -> Call:
    who = Principal(name=str(facts.pop("who", "me")))
    grant = Grant([Role("r")], Limits(budgets=budgets))
    return Call(method, (), True, 0, 0, principal=who, grant=grant, wall=wall, **facts)


def query(elements: int = 1) -> inference_pb2.ModelInferRequest:
    request = inference_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[elements])
    return request


class Bench(Driven):
    """A guard without prices."""

    def __init__(self, store: MemoryStore, *, purse: bool = False) -> None:
        super().__init__(store, ahead=purse, clamps=CLAMPS)


@pytest.fixture(params=[False, True], ids=["memory", "store"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(MemoryStore(), purse=request.param)
    yield made
    made.till.close()


def test_a_call_pays_for_what_is_in_its_message(bench: Bench) -> None:
    """Elements by shape, for the principal, in the day it was asked."""
    asked = call(budget("1000 elements/day", "principal"))

    assert bench.ask(asked, query(64)) == ""
    bench.end(asked)
    bench.till.close()
    assert bench.spent() == {"b elements/day principal=me@2026-11-27": 64}


def test_a_budget_lets_through_what_it_has_and_not_one_more(bench: Bench) -> None:
    """The refusal says how much was wanted and left, and when to come again: at the end of the window."""
    day = budget("10 calls/day", "principal")
    reasons = [bench.ask(call(day), query()) for _ in range(12)]
    refused = call(day)
    bench.ask(refused, query())

    assert reasons == [""] * 10 + ["BUDGET_EXHAUSTED"] * 2
    assert refused.refusal is not None
    assert refused.refusal.words == "a budget is spent: 1 of calls/day wanted, 0 left"
    assert refused.refusal.retry_after == 12 * 3600
    assert refused.refusal.note == "b calls/day principal=me 2026-11-27: 1 wanted, 0 of 10 left"
    assert refused.refusal.guard == "budget"


def test_what_no_window_can_pay_for_is_not_to_be_tried_again(bench: Bench) -> None:
    """A message larger than the whole budget: that is said, and no time to wait."""
    asked = call(budget("10 elements/day"))

    assert bench.ask(asked, query(11)) == "BUDGET_EXHAUSTED"
    assert asked.refusal is not None
    assert asked.refusal.retry_after is None
    assert asked.refusal.words == (
        "a budget is spent: 11 of elements/day wanted, which never has more than 10"
    )


def test_who_only_waits_for_others_to_give_back_is_told_to_come_soon(bench: Bench) -> None:
    """What is reserved is seldom needed, so nobody has to wait for the day to end. What is spent stays."""
    day = budget("90 seconds/day")
    first, second, third = call(day), call(day), call(day)
    bench.ask(first, query())
    bench.ask(second, query())
    bench.end(first, model_ms=40_000)
    bench.ask(third, query())
    refusals = [second.refusal, third.refusal]

    assert [each and each.retry_after for each in refusals] == [1.0, 12 * 3600]
    assert [each and each.words for each in refusals] == [
        "a budget is spent: 60 of seconds/day wanted, 30 left",
        "a budget is spent: 60 of seconds/day wanted, 50 left",
    ]


def test_two_principals_have_a_budget_each_and_all_share_one(bench: Bench) -> None:
    """Both budgets are asked at once; the one that is spent first refuses, and the other loses nothing."""
    each, all_ = budget("3 calls/day", "principal"), budget("5 calls/day", name="all")
    mine = [bench.ask(call(each, all_, who="me"), query()) for _ in range(4)]
    hers = [bench.ask(call(each, all_, who="her"), query()) for _ in range(4)]

    assert mine == ["", "", "", "BUDGET_EXHAUSTED"]
    assert hers == ["", "", "BUDGET_EXHAUSTED", "BUDGET_EXHAUSTED"]
    assert bench.spent()["b calls/day principal=her@2026-11-27"] == 2


def test_time_is_reserved_to_the_deadline_and_settled_to_what_the_model_took(bench: Bench) -> None:
    """One call at a time could take all of a minute; what it did not take is there for the next."""
    day = budget("90 seconds/day")
    first, second, third = call(day), call(day), call(day)

    assert bench.ask(first, query()) == ""
    assert bench.ask(second, query()) == "BUDGET_EXHAUSTED"
    bench.end(first, model_ms=1500.2)
    assert bench.ask(third, query()) == ""
    bench.end(third, model_ms=0.1)
    bench.till.close()
    assert sum(bench.spent().values()) == 1501 + 1


def test_work_that_outlasts_its_call_is_paid_for(bench: Bench) -> None:
    """A blocking model goes on when its caller has left: its time is counted until it has stopped."""
    asked = call(budget("90 seconds/day"))
    bench.ask(asked, query())
    assert asked.work is not None
    asked.work.hold("thread")
    bench.end(asked, model_ms=10, refusal=Refusal("CANCELLED"))
    still = bench.ask(call(budget("90 seconds/day")), query())
    asked.ended_ns -= 7 * 10**9  # as if the thread went on for seven seconds
    asked.work.let_go("thread")
    bench.till.close()

    assert still == "BUDGET_EXHAUSTED"
    assert 7010 <= sum(bench.spent().values()) < 60_000


def test_a_call_that_nothing_outlasts_pays_for_no_time_after_its_end(bench: Bench) -> None:
    """However long it then takes to settle: only the model's time is charged."""
    asked = call(budget("90 seconds/day"))
    bench.ask(asked, query())

    class Slow(Guard):
        """As a pause of the process would be."""

        stage = Stage.RECORD

        def settle(self, call: Call) -> None:
            call.ended_ns -= 7 * 10**9

    bench.chain = Chain(Slow(), bench.guard)
    bench.end(asked, model_ms=10)
    bench.till.close()

    assert sum(bench.spent().values()) == 10


def test_work_that_takes_more_than_was_reserved_is_charged_late(bench: Bench) -> None:
    """The server's deadline cannot end a model that blocks: what it took beyond is spent all the same."""
    asked = call(budget("90 seconds/day"), patience=1.0)
    bench.ask(asked, query())
    assert asked.work is not None
    asked.work.hold("thread")
    bench.end(asked, model_ms=1000, refusal=Refusal("DEADLINE_EXCEEDED"))
    asked.ended_ns -= 80 * 10**9  # as if the thread went on for eighty seconds
    asked.work.let_go("thread")
    bench.till._pay_debts()

    assert 8000 < bench.till.left(bench.guard.counting(asked)[0][1]) <= 9000


def test_a_model_that_stops_the_loop_is_charged_for_that(bench: Bench) -> None:
    """An async model that computes cannot be cancelled: it takes longer than its deadline, and pays."""
    asked = call(budget("90 seconds/day"), patience=1.0)
    bench.ask(asked, query())
    bench.end(asked, model_ms=30_000)
    bench.till.close()

    assert sum(bench.spent().values()) == 30_000


def test_work_that_takes_more_than_there_is_takes_all_of_it(bench: Bench) -> None:
    """No budget becomes negative."""
    asked = call(budget("90 seconds/day"), patience=1.0)
    bench.ask(asked, query())
    assert asked.work is not None
    asked.work.hold("thread")
    bench.end(asked, model_ms=1000, refusal=Refusal("DEADLINE_EXCEEDED"))
    asked.ended_ns -= 800 * 10**9
    asked.work.let_go("thread")
    bench.till._pay_debts()

    assert bench.till.left(bench.guard.counting(asked)[0][1]) == 0
    assert bench.ask(call(budget("90 seconds/day"), patience=1.0), query()) == "BUDGET_EXHAUSTED"


def test_bytes_are_reserved_with_the_largest_answer_and_settled(bench: Bench) -> None:
    """An answer of unknown size reserves the most it may have."""
    asked = call(budget("1500 bytes/day"), raw=b"x" * 100, request_bytes=100)

    assert bench.ask(asked, query()) == ""
    assert bench.ask(call(budget("1500 bytes/day"), raw=b"x"), query()) == "BUDGET_EXHAUSTED"
    asked.response_bytes = 50
    bench.end(asked)
    bench.till.close()
    assert sum(bench.spent().values()) == 150


def test_a_call_that_never_came_to_the_model_pays_nothing(bench: Bench) -> None:
    """A guard behind refused it: all of it is given back."""
    asked = call(budget("10 elements/day"))
    bench.ask(asked, query(10))
    bench.chain.settle(asked, Refusal("TENSOR_UNKNOWN"))

    assert bench.ask(call(budget("10 elements/day")), query(10)) == ""


def test_who_leaves_before_the_answer_pays_for_the_input(bench: Bench) -> None:
    """Aborting early is not free."""
    asked = call(budget("10 elements/day"))
    bench.ask(asked, query(10))
    bench.end(asked, refusal=Refusal("CANCELLED"))

    assert bench.ask(call(budget("10 elements/day")), query(1)) == "BUDGET_EXHAUSTED"


def test_settling_twice_gives_back_once(bench: Bench) -> None:
    """A second settlement finds nothing held."""
    day = budget("90 seconds/day")
    asked = call(day)
    bench.ask(asked, query())
    bench.end(asked, model_ms=50_000)
    bench.guard.settle(asked)
    bench.guard.settle(asked)
    bench.till.close()

    assert sum(bench.spent().values()) == 50_000


def test_each_message_of_a_stream_pays_and_time_once(bench: Bench) -> None:
    """A stream stops when its budget does; its deadline is one for all of its messages."""
    rows, time = budget("25 elements/day"), budget("61 seconds/day", name="t")
    asked = call(rows, time)
    reasons = [bench.ask(asked, query(10)) for _ in range(2)]
    late = bench.ask(asked, query(10))

    assert (reasons, late) == (["", ""], "BUDGET_EXHAUSTED")


def test_further_answers_to_one_message_reserve_anew(bench: Bench) -> None:
    """A stream of answers is stopped before the one that could not be paid for."""
    asked = call(budget("2500 bytes/day"), raw=b"x")
    reasons = [bench.ask(asked, query()), *(bench.answer(asked) for _ in range(3))]

    assert (reasons, asked.responses) == (["", "", "", "BUDGET_EXHAUSTED"], 2)


@pytest.mark.parametrize("method", [WHO_AM_I, MODEL_METADATA, "/inference.GRPCInferenceService/ServerLive"])
def test_what_asks_nothing_of_a_model_costs_nothing(bench: Bench, method: str) -> None:
    """Who has spent everything may still ask what is left."""
    day = budget("1 calls/day")
    bench.ask(call(day), query())

    assert bench.ask(call(day, method=method), query()) == ""


def test_a_method_of_somebody_elses_service_costs(bench: Bench) -> None:
    """What we do not know may be a model: a call, a row and an element."""
    day = budget("1 elements/day")

    assert bench.ask(call(day, method="/other.Service/Predict"), b"x") == ""
    assert bench.ask(call(day, method="/other.Service/Predict"), b"x") == "BUDGET_EXHAUSTED"


def test_the_next_window_has_a_budget_of_its_own(bench: Bench) -> None:
    """At midnight UTC; and a clock that is set back finds no fresh budget in the window of before."""
    day = budget("1 calls/day")
    midnight = NOON + 12 * 3600
    walls = [NOON, midnight - 1, midnight, midnight - 3600, midnight + 3600]
    reasons = [bench.ask(call(day, wall=wall), query()) for wall in walls]

    assert reasons == ["", "BUDGET_EXHAUSTED", "", "BUDGET_EXHAUSTED", "BUDGET_EXHAUSTED"]


def test_a_budget_in_shadow_refuses_nobody_and_tells(bench: Bench) -> None:
    """The call goes on, its record names the budget; the others decide as if it were not there."""
    shadow, real = budget("1 calls/day", name="s", shadow=True), budget("2 calls/day", name="r")
    asked = [call(shadow, real) for _ in range(3)]
    reasons = [bench.ask(each, query()) for each in asked]

    assert reasons == ["", "", "BUDGET_EXHAUSTED"]
    assert [each.shadow for each in asked] == ["", "s", ""]


def test_who_is_counted_by_no_budget_passes(bench: Bench) -> None:
    """And leaves no trace in the store."""
    assert bench.ask(call(), query()) == ""
    assert bench.spent() == {}


def test_general_budgets_count_callers_without_a_grant() -> None:
    """An open method of somebody's own service is counted by what counts everybody."""
    store = MemoryStore()
    bench = Bench(store)
    bench.chain = Chain(Budgets(bench.till, [budget("1 calls/day")], CLAMPS))
    asked = [Call("/other.Service/Open", (), True, 0, 0, wall=NOON) for _ in range(2)]

    assert [bench.ask(each, b"x") for each in asked] == ["", "BUDGET_EXHAUSTED"]


class Broken(MemoryStore):
    """A store that cannot be reached."""

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        raise StoreError("connection refused to 10.0.0.7")


def test_a_store_that_fails_refuses_calls_and_says_why_to_the_operator_alone() -> None:
    """Budgets fail closed: UNAVAILABLE, to be tried again; the text of the error stays here."""
    bench = Bench(Broken(), purse=True)
    asked = call(budget("1000 calls/day"))

    assert bench.ask(asked, query()) == "BUDGETS_UNAVAILABLE"
    assert asked.refusal is not None
    assert (asked.refusal.code.name, asked.refusal.retry_after) == ("UNAVAILABLE", 1.0)
    assert "10.0.0.7" in asked.refusal.note
    assert "10.0.0.7" not in asked.refusal.words


def test_a_store_that_fails_does_not_stop_what_is_only_in_shadow() -> None:
    """A limit that nobody enforces yet must cost nobody a call."""
    bench = Bench(Broken(), purse=True)

    assert bench.ask(call(budget("1000 calls/day", shadow=True)), query()) == ""


def test_a_full_memory_refuses_calls_and_not_what_is_only_in_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a store that cannot be used, wherever it is asked: refused UNAVAILABLE, nobody's mistake."""
    monkeypatch.setattr(memory, "MOST", 0)
    bench = Bench(MemoryStore())

    assert bench.ask(call(budget("1000 calls/day")), query()) == "BUDGETS_UNAVAILABLE"
    assert bench.ask(call(budget("1000 calls/day", shadow=True)), query()) == ""


def test_a_call_that_ends_while_its_budgets_are_asked_holds_nothing() -> None:
    """The answer of the store comes after the record: what it took goes back."""
    bench = Bench(MemoryStore(), purse=True)
    asked = call(budget("1000 calls/day"))
    asked.requests = 1
    pending = bench.chain.inspect(asked, query())
    assert pending is not None
    fetch = bench.till.fetch

    def late(costs: list[tuple[Account, int]], exact: bool) -> Short | None:
        found = fetch(costs, exact)
        bench.chain.settle(asked, Refusal("CANCELLED"))
        return found

    bench.till.fetch = late
    with pytest.raises(Refusal, match="it ended while"):
        bench.chain.finish(pending)
    bench.till.close()

    assert sum(bench.spent().values()) == 0


def test_bytes_of_a_stream_are_charged_to_the_model_that_had_them(bench: Bench) -> None:
    """A stream that asks two models pays each for its own messages and answers."""
    asked = call(budget("100000 bytes/day", "model"), method=MODEL_STREAM_INFER)
    for model, size in (("cheap", 10), ("dear", 500), ("cheap", 20)):
        asked.model, asked.raw = model, b"x" * size
        asked.request_bytes += size
        assert bench.ask(asked, query()) == ""
        asked.response_bytes += 100
        asked.responses += 1
    bench.end(asked)
    bench.till.close()
    spent = bench.spent()

    assert spent["b bytes/day model=cheap@2026-11-27"] == 10 + 20 + 200
    assert spent["b bytes/day model=dear@2026-11-27"] == 500 + 100


def test_time_of_a_stream_is_charged_to_every_model_that_it_asked(bench: Bench) -> None:
    """Nobody knows how it was shared: each pays for all of it, so that none is dodged."""
    asked = call(budget("10000 seconds/day", "model"), method=MODEL_STREAM_INFER)
    for model in ("cheap", "dear", "dear"):
        asked.model = model
        assert bench.ask(asked, query()) == ""
    bench.end(asked, model_ms=5000)
    bench.till.close()

    assert set(bench.spent().values()) == {5000}
    assert len(bench.spent()) == 2


UNIT = st.sampled_from(["calls", "rows", "elements", "bytes", "seconds"])


@given(
    held=st.lists(
        st.tuples(st.integers(0, 3), UNIT, st.integers(0, 10**6), st.integers(0, 10**6)), max_size=12
    ),
    size=st.integers(0, 10**6),
    model_ns=st.integers(0, 10**12),
)
def test_every_byte_is_paid_for_once(held: list[tuple[int, str, int, int]], size: int, model_ns: int) -> None:
    """What the messages of a budget in bytes cost is what came after the first of them; nothing is negative;
    of the other units each charge costs what it should."""
    budgets = {unit: budget(f"10 {unit}/day") for _, unit, _, _ in held}
    marks = iter(sorted(min(before, size) for *_, before in held))
    charges = [
        Charge(
            budgets[unit],
            Account(f"{unit}{place}", "w", 10, 0.0),
            units,
            (Line(unit, PART, units, next(marks)),),
        )
        for place, unit, units, _ in held
    ]
    ended = Call("/x/Y", (), True, 0, 0, request_bytes=size, model_ns=model_ns, responses=1)
    found = costs(charges, ended)

    assert all(cost >= 0 for cost in found)
    paid = [
        cost for charge, cost in zip(charges, found, strict=True) if charge.budget is budgets.get("bytes")
    ]
    first = next(
        (charge.lines[0].before for charge in charges if charge.budget is budgets.get("bytes")), size
    )
    assert sum(paid) == size - first
    for charge, cost in zip(charges, found, strict=True):
        unit = charge.budget.amount.unit
        if unit != "bytes":
            assert cost == (-(-model_ns // 10**6) if unit == "seconds" else charge.units)


class Failing(MemoryStore):
    """A store that can be reached or not."""

    well = True

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        if not self.well:
            raise StoreError("gone")
        return super().take(wants)


def test_what_is_paid_from_the_hand_while_the_store_is_away_says_so() -> None:
    """Such calls name the budget on their record; once the store has answered again, none does."""
    store = Failing()
    bench, each = Bench(store, purse=True), budget("1000 calls/day", "principal")
    calls = [call(each, who=who) for who in ("me", "you", "me", "you", "me")]
    said = [bench.ask(calls[0], query())]
    store.well = False
    said += [bench.ask(asked, query()) for asked in calls[1:3]]
    store.well = True
    said += [bench.ask(asked, query()) for asked in calls[3:]]

    assert said == ["", "BUDGETS_UNAVAILABLE", "", "", ""]
    assert [asked.degraded for asked in calls] == ["", "", "b", "", ""]
