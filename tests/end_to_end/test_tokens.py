"""Tokens and money of a whole server: told by models, charged, recorded, and told to who asks."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from gate import INFER, Gate, bearer, command, query, until
from sink import Sink

from guardhouse.protos import guardhouse_pb2, inference_pb2

MODELS = "".join(
    f"  - {{name: {name}, python: 'talking_model:{name}'}}\n" for name in ("blocking", "waiting", "silent")
)
POLICY = """
prices:
  currency: USD
  models:
    blocking: {{input_tokens: 0.000003, output_tokens: 0.000015}}
    waiting: {{tokens: 0.000002, calls: 0.01}}
roles:
  racer:
    allow:
      - {{methods: [ModelInfer], models: [blocking, waiting, silent]}}
      - {{methods: [guardhouse.v1.Guardhouse/WhoAmI]}}
bindings: [{{role: racer, claim: {{roles: racer}}}}]
limits: {limits}
"""


@pytest.fixture
def served(tmp_path: Path, sink: Sink) -> Iterator[Callable[..., Gate]]:
    """Starts a server with these limits, whose models talk; it is ended with the test."""
    gates = []

    def start(limits: str, *arguments: str) -> Gate:
        gate = Gate(tmp_path / "demo", sink.port)
        (gate.folder / "policy.yaml").write_text(POLICY.format(limits=limits))
        config = (gate.folder / "guardhouse.yaml").read_text()
        start, end = config.index("models:"), config.index("\n# ", config.index("models:"))
        (gate.folder / "guardhouse.yaml").write_text(config[:start] + f"models:\n{MODELS}" + config[end:])
        gates.append(gate.start("--set", f"limits.store=sqlite:{tmp_path}/budgets.db", *arguments))
        return gate

    yield start
    for gate in gates:
        if gate.process.poll() is None:
            gate.stop()


def request(
    model: str, taken: int, given: int, wait: float = 0.0, most: int = 0
) -> inference_pb2.ModelInferRequest:
    made = query(model, [taken, given, wait])
    if most:
        made.parameters["max_tokens"].int64_param = most
    return made


def ask(gate: Gate, message: inference_pb2.ModelInferRequest, timeout: float = 30.0) -> grpc.StatusCode:
    """How one call ended."""
    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        try:
            infer(message.SerializeToString(), metadata=bearer(gate.token("racer")), timeout=timeout)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def spent(gate: Gate) -> dict[str, float]:
    """What was spent of each account, once the server holds nothing."""
    gate.stop()
    return shown(gate)


def shown(gate: Gate) -> dict[str, float]:
    """What was spent of each account, as `guardhouse limits show` tells; what servers hold counts."""
    store = f"limits.store=sqlite:{gate.folder.parent}/budgets.db"
    told = command("limits", "show", str(gate.folder / "guardhouse.yaml"), "--json", "--set", store)
    return {each["account"]: each["spent"] for each in json.loads(told)["accounts"]}


@pytest.mark.parametrize("model", ["blocking", "waiting"])
def test_a_model_tells_and_the_caller_pays(served: Callable[..., Gate], model: str) -> None:
    """From a thread and from the loop: charged, and on the ledger's line."""
    gate = served("[{name: all, budget: 100000 tokens/day}]")

    assert ask(gate, request(model, 12, 340)) is grpc.StatusCode.OK
    (line,) = gate.ledger(1)
    assert (line["input_tokens"], line["output_tokens"]) == (12, 340)
    assert spent(gate) == {"all tokens/day": 352}


def test_money_is_charged_by_the_list_and_told_in_the_currency(served: Callable[..., Gate]) -> None:
    """To the caller by `WhoAmI`, to the operator at the start and by `limits show`; never in billionths."""
    gate = served("[{name: purse, budget: 12.50 USD/day, per: [principal]}]")
    assert ask(gate, request("blocking", 1000, 100)) is grpc.StatusCode.OK
    assert ask(gate, request("waiting", 1000, 100)) is grpc.StatusCode.OK
    with gate.channel() as channel:
        raw = channel.unary_unary("/guardhouse.v1.Guardhouse/WhoAmI")(
            b"", metadata=bearer(gate.token("racer"))
        )
    (told,) = (each for each in guardhouse_pb2.WhoAmIResponse.FromString(raw).limits if each.kind == "budget")
    cost = (0.003 + 0.0015) + (0.0022 + 0.01)

    assert (told.limit, told.unit, told.name) == (12.5, "USD/day", "purse")
    assert told.remaining == pytest.approx(12.5 - cost, abs=1e-9)
    assert "12.50 USD/day" in json.dumps(gate.report)
    assert list(spent(gate).values()) == [pytest.approx(cost, abs=1e-9)]


def test_a_model_without_a_price_is_denied_and_found_beforehand(served: Callable[..., Gate]) -> None:
    """The operator is warned by `check`; the caller hears that it may not use the model so."""
    gate = served("[{name: purse, budget: 12.50 USD/day}]")

    assert ask(gate, request("silent", 1, 1)) is grpc.StatusCode.PERMISSION_DENIED
    assert gate.ledger(1)[0]["reason"] == "MODEL_UNPRICED"
    found = json.loads(command("check", str(gate.folder / "guardhouse.yaml"), "--json"))
    assert [each["message"] for each in found["warnings"] if each["key"] == "prices.models"] == [
        "no price for `silent`: whom a budget of money counts is denied it (MODEL_UNPRICED)"
    ]


def test_a_model_that_tells_nothing_costs_its_reservation(served: Callable[..., Gate]) -> None:
    """The bytes of the message and `max_tokens`; without that, what the configuration says."""
    gate = served("[{name: all, budget: 100000 tokens/day}]", "--set", "server.max_tokens=700")
    bounded, free = request("silent", 1, 1, most=50), request("silent", 1, 1)

    assert ask(gate, bounded) is grpc.StatusCode.OK
    assert ask(gate, free) is grpc.StatusCode.OK
    assert ask(gate, request("silent", 1, 1, most=701)) is grpc.StatusCode.INVALID_ARGUMENT
    assert [line["reason"] for line in gate.ledger(3)] == ["", "", "PARAMETER_INVALID"]
    sizes = sum(len(each.SerializeToString()) for each in (bounded, free))
    assert spent(gate) == {"all tokens/day": sizes + 50 + 700}


@pytest.mark.parametrize(
    ("model", "paid"), [("blocking", 12 + 340), ("waiting", 12), ("silent", None)], ids=str
)
async def test_who_leaves_in_the_middle_pays(
    served: Callable[..., Gate], model: str, paid: int | None
) -> None:
    """All that a blocking model used before it ended; what an async one had told until it was stopped; and
    where nothing was told, the bytes of the message."""
    gate = served("[{name: all, budget: 100000 tokens/day}]")
    body = request(model, 12, 340, wait=1.0).SerializeToString()
    token = bearer(gate.token("racer"))
    async with gate.aio() as channel:
        call = channel.unary_unary(INFER)(body, metadata=token, timeout=30)
        await asyncio.sleep(0.5)  # until it is in the model, which waits for a second
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (line,) = gate.ledger(1)

    assert line["status"] == "CANCELLED"
    assert line.get("input_tokens") == (None if paid is None else 12)
    until(lambda: shown(gate) == {"all tokens/day": len(body) if paid is None else paid})


def test_tokens_are_in_spans_and_metrics(served: Callable[..., Gate], sink: Sink) -> None:
    """By the names that the documents have."""
    gate = served("[{name: all, budget: 100000 tokens/day}]", "--set", "metrics.listen=127.0.0.1:0")
    ask(gate, request("blocking", 12, 340))
    ask(gate, request("silent", 12, 340))
    calls = {line["call"] for line in gate.ledger(2)}
    until(lambda: calls <= {span["span_id"] for span in sink.spans})
    ours = [span for span in sink.spans if span["span_id"] in calls]
    told = [{key: value for key, value in span.items() if key.startswith("gen_ai.")} for span in ours]
    (address,) = gate.report["metrics"]
    with urllib.request.urlopen(address, timeout=20) as answer:
        page = answer.read().decode()

    assert sorted(told, key=len) == [{}, {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 340}]
    assert 'guardhouse_input_tokens_total{model="blocking"} 12' in page
    assert 'guardhouse_output_tokens_total{model="blocking"} 340' in page
