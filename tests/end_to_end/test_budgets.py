"""Budgets of a whole server: raced, left early, settled, told; and kept over restarts and kills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from gate import INFER, Gate, bearer, query
from google.rpc import error_details_pb2, status_pb2
from racing import CALLERS, POLICY, race
from sink import Sink

from guardhouse.protos import guardhouse_pb2


@pytest.fixture
def served(tmp_path: Path, sink: Sink) -> Iterator[Callable[..., Gate]]:
    """Starts a server with these budgets; it is ended with the test."""
    gates = []

    def start(budgets: str, *arguments: str) -> Gate:
        gate = Gate(tmp_path / "demo", sink.port)
        (gate.folder / "policy.yaml").write_text(POLICY.format(budgets=budgets))
        gates.append(gate.start(*arguments))
        return gate

    yield start
    for gate in gates:
        if gate.process.poll() is None:
            gate.stop()


def refusal(gate: Gate, model: str = "double", values: int = 1) -> grpc.RpcError:
    """The error of a call that is refused."""
    token, body = bearer(gate.token("racer")), query(model, [1.0] * values).SerializeToString()
    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            infer(body, metadata=token, timeout=30)
    return caught.value


def ask(gate: Gate, calls: int, values: int = 1) -> None:
    """Calls that are answered."""
    token, body = bearer(gate.token("racer")), query("double", [1.0] * values).SerializeToString()
    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        for _ in range(calls):
            infer(body, metadata=token, timeout=30)


def details(error: grpc.RpcError) -> dict[str, object]:
    """The details of the rich status, by the names of their messages."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo)
    found = {}
    for detail in status.details:
        for kind in kinds:
            made = kind()
            if detail.Unpack(made):
                found[kind.DESCRIPTOR.name] = made
    return found


async def test_64_callers_race_one_budget(served: Callable[..., Gate]) -> None:
    """Every unit is spent and not one more; the model's own counter, the ledger and the callers agree."""
    gate = served("[{name: all, budget: 700 calls/day}]")
    seen = await race(gate, 20)

    assert seen == {"OK": 700, "RESOURCE_EXHAUSTED": CALLERS * 20 - 700}
    assert gate.calls() == 700
    reasons = Counter(line["reason"] for line in gate.ledger(CALLERS * 20))
    assert reasons == {"": 700, "BUDGET_EXHAUSTED": CALLERS * 20 - 700}


async def test_callers_who_leave_early_pay(served: Callable[..., Gate]) -> None:
    """A deadline that ends the call does not give its input back: no more come to the model than are paid."""
    gate = served("[{name: all, budget: 200 elements/day}]")
    seen = await race(gate, 5, model="slow", value=0.1, deadline=0.05)

    assert gate.calls() <= 200
    assert seen["RESOURCE_EXHAUSTED"] > 0


def test_what_the_caller_is_told(served: Callable[..., Gate]) -> None:
    """Status, reason, which limit, how much of it, and when to come again, in words and numbers."""
    gate = served("[{name: trial, budget: 5 elements/hour}]")
    error = refusal(gate, values=6)
    assert "RetryInfo" not in details(error), "no window can pay for it"

    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        infer(
            query("double", [1.0] * 4).SerializeToString(), metadata=bearer(gate.token("racer")), timeout=30
        )
    error = refusal(gate, values=2)
    told = details(error)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "a budget is spent: 2 of elements/hour wanted, 1 left"
    assert told["ErrorInfo"].reason == "BUDGET_EXHAUSTED"
    (violation,) = told["QuotaFailure"].violations
    assert (violation.subject, violation.description) == ("trial", error.details())
    assert 0 < told["RetryInfo"].retry_delay.seconds <= 3600
    assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    line = gate.ledger(3)[-1]
    assert (line["guard"], line["reason"]) == ("budget", "BUDGET_EXHAUSTED")
    assert line["note"].startswith("trial elements/hour ")


def test_time_that_was_not_used_is_there_again(served: Callable[..., Gate]) -> None:
    """Of 70 seconds a call reserves 60, its deadline; settled to what it took, the next one gets as much."""
    gate = served("[{name: time, budget: 70 seconds/day}]", "--set", "server.deadline=60s")
    ask(gate, 5)
    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        body = query("patient", [3600.0]).SerializeToString()
        waiting = infer.future(body, metadata=bearer(gate.token("racer")), timeout=100)
        while not gate.calls(b"p"):
            assert not waiting.done()
        assert refusal(gate).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        waiting.cancel()


def test_a_budget_in_shadow_is_only_told(served: Callable[..., Gate]) -> None:
    """Nobody is refused; the ledger names it from the call on that it would have refused."""
    gate = served("[{name: trial, budget: 2 calls/day, per: [model], shadow: true}]")
    ask(gate, 4)

    assert [line["shadow"] for line in gate.ledger(4)] == ["", "", "trial", "trial"]


def test_a_broken_model_costs_what_was_put_in(served: Callable[..., Gate]) -> None:
    """It ran: its failure is not the caller's gain."""
    gate = served("[{name: all, budget: 1 calls/day}]")

    assert refusal(gate, model="broken").code() is grpc.StatusCode.INTERNAL
    assert refusal(gate, model="broken").code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_whoami_tells_what_is_left(served: Callable[..., Gate]) -> None:
    """Of budgets that count the caller whatever it asks, by name, in their own units; it costs nothing."""
    gate = served(
        "[{name: all, budget: 10 elements/day}, {name: time, budget: 120 seconds/hour, per: [principal]},"
        " {name: models, budget: 9 calls/day, per: [model]}]"
    )
    ask(gate, 2, values=4)
    with gate.channel() as channel:
        raw = channel.unary_unary("/guardhouse.v1.Guardhouse/WhoAmI")(
            b"", metadata=bearer(gate.token("racer"))
        )
    told = guardhouse_pb2.WhoAmIResponse.FromString(raw).limits
    budgets = {each.name: each for each in told if each.kind == "budget"}

    assert set(budgets) == {"all", "time"}
    assert (budgets["all"].limit, budgets["all"].remaining, budgets["all"].unit) == (10, 2, "elements/day")
    assert budgets["all"].scope == "all callers"
    assert 119 < budgets["time"].remaining < 120
    assert 0 < budgets["time"].reset_seconds <= 3600
