"""The metrics of a real server: one with the ledger, no more than it has names, right to the very end."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pytest
from gate import INFER, Gate, bearer, query, until
from metering import MetricsSink, by, scraped

from guardhouse.protos import inference_pb2
from guardhouse.server.issuer import issue_token, load_key

LISTEN = ("--set", "metrics.listen=127.0.0.1:0")


@pytest.fixture(scope="module")
def measured(tmp_path_factory, sink):
    """A running server whose metrics can be scraped."""
    made = Gate(tmp_path_factory.mktemp("measured") / "demo", sink.port).start(*LISTEN)
    yield made
    if made.process.poll() is None:
        made.stop()


def ask(channel: grpc.Channel, metadata, method: str = INFER, request: bytes | None = None) -> str:
    """Call once; the status."""
    message = query().SerializeToString() if request is None else request
    try:
        channel.unary_unary(method)(message, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def mixed(gate: Gate, rounds: int) -> int:
    """Make calls that end in eight ways; returns how many."""
    user, operator = bearer(gate.token()), bearer(gate.token("operator"))
    with gate.channel() as channel:
        for _ in range(rounds):
            ask(channel, user)
            ask(channel, user, request=query("large", [3]).SerializeToString())
            ask(channel, user, request=query("broken").SerializeToString())
            ask(channel, user, request=query("ghost").SerializeToString())
            ask(channel, operator, request=query("nowhere").SerializeToString())
            ask(channel, user, request=b"\xff" * 9)
            ask(channel, (), "/no.Such/Method", b"")
            ask(channel, operator, "/inference.GRPCInferenceService/No", b"")
    return 8 * rounds


def test_metrics_and_ledger_tell_the_same(measured):
    """Calls by method, model and status, refusals by guard and reason, bytes, numbers: as on the ledger."""
    count = mixed(measured, 5)
    until(lambda: by(scraped(measured), "guardhouse_ledger_lines_total")[()] >= count)
    page, lines = scraped(measured), measured.ledger(count)
    served = {"double", "slow", "patient", "large", "broken", "misshapen", ""}

    def method(line) -> str:
        return line["method"] if f"/{line['method']}" == INFER else "_OTHER"

    def model(line) -> str:
        return line["model"] if line["model"] in served else "_OTHER"

    assert by(page, "guardhouse_calls_total", "method", "model", "status") == Counter(
        (method(line), model(line), line["status"]) for line in lines
    )
    assert by(page, "guardhouse_refusals_total", "guard", "reason") == Counter(
        (line["guard"], line["reason"]) for line in lines if line["reason"]
    )
    assert by(page, "guardhouse_request_bytes_total").total() == sum(line["request_bytes"] for line in lines)
    assert by(page, "guardhouse_response_bytes_total").total() == sum(
        line["response_bytes"] for line in lines
    )
    assert by(page, "guardhouse_units_total").total() == sum(line["units"] for line in lines)
    assert by(page, "rpc_server_call_duration_seconds_count").total() == len(lines)
    assert by(page, "guardhouse_chain_duration_seconds_count").total() == len(lines)
    assert by(page, "guardhouse_calls_in_flight")[()] == 0
    assert by(page, "guardhouse_ledger_sequence")[()] == measured.ledger(count)[-1]["seq"]
    assert by(page, "guardhouse_ledger_healthy")[()] == 1


def test_a_call_is_in_flight_while_it_lasts(measured):
    """It is among them from its headers to its end."""
    user = bearer(measured.token())
    with measured.channel() as channel:
        patient = channel.unary_unary(INFER).future(
            query("patient", [3600]).SerializeToString(), metadata=user, timeout=60
        )
        until(lambda: by(scraped(measured), "guardhouse_calls_in_flight")[()] == 1)
        patient.cancel()
        until(lambda: by(scraped(measured), "guardhouse_calls_in_flight")[()] == 0)


def test_strangers_add_no_series(measured):
    """Hundreds of callers, models and methods that nobody has heard of: the first made all the series."""
    key = load_key((measured.folder / "pki/token.key").read_bytes())
    operator = bearer(measured.token("operator"))

    def stranger(number: int) -> None:
        token = issue_token(key, f"caller-{number}", roles=["operator"], now=time.time(), ttl=600)
        model = inference_pb2.ModelInferRequest(model_name=f"m{number}").SerializeToString()
        ask(channel, bearer(token.text), request=query().SerializeToString())
        ask(channel, operator, request=model)
        ask(channel, operator, f"/inference.GRPCInferenceService/M{number}", b"")
        ask(channel, (), f"/s{number}/m", b"")

    def calls() -> int:
        return by(scraped(measured), "guardhouse_chain_duration_seconds_count")[()]

    with measured.channel() as channel, ThreadPoolExecutor(8) as crowd:
        before = calls()
        stranger(0)
        until(lambda: calls() == before + 4)
        series = scraped(measured).keys()
        list(crowd.map(stranger, range(1, 751)))
        until(lambda: calls() == before + 4 + 3000)

    assert scraped(measured).keys() == series
    assert by(scraped(measured), "guardhouse_rate_keys")[()] > 750


def test_only_the_page_is_served_and_on_this_machine_alone(measured):
    """The address is loopback, as the report says, and no warning is given."""
    assert measured.report["metrics"][0].startswith("http://127.0.0.1:")
    assert measured.report["warnings"] == "none"


def test_others_may_read_only_where_that_is_written(tmp_path, sink):
    """An address that is not loopback is taken as it stands, with a warning at the start."""
    gate = Gate(tmp_path / "demo", sink.port).start("--set", "metrics.listen=0.0.0.0:0")
    try:
        assert any("without any proof" in warning for warning in gate.report["warnings"])
        assert gate.report["metrics"][0].startswith("http://0.0.0.0:")
    finally:
        assert gate.stop() == 0


def test_a_port_in_use_is_refused_by_line(tmp_path, measured):
    """The message names the key, and what to do."""
    gate = Gate(tmp_path / "demo", 1)
    taken = measured.report["metrics"][0].removeprefix("http://").removesuffix("/metrics")
    with suppress(AssertionError):
        gate.start("--set", f"metrics.listen={taken}")

    assert gate.process.wait(30) == 1
    assert "metrics.listen: cannot listen on" in gate.log()
    assert "address already in use; write another" in gate.log()


def test_without_a_section_nothing_is_measured(gate):
    """Nobody asked: no port, no push, no counting."""
    assert gate.report["metrics"] == "not measured"


def test_the_last_push_tells_the_end(tmp_path):
    """SIGTERM with a collector of spans that is away: what was lost is counted, and pushed, to the last span.

    The lines of the ledger, the calls that were counted, and the spans sent and lost are one number.
    """
    received = MetricsSink()
    gate = Gate(tmp_path / "demo", 1).start("--set", f"metrics.otlp=http://127.0.0.1:{received.port}")
    try:
        count = mixed(gate, 5)
    finally:
        assert gate.stop() == 0
    received.stop()
    told = received.numbers

    assert received.pushes == 1
    assert len(gate.ledger()) == count
    assert by(told, "guardhouse.calls").total() == count
    assert by(told, "guardhouse.spans.sent")[()] == 0
    assert by(told, "guardhouse.spans.lost").total() == count
    assert by(told, "guardhouse.spans.queued")[()] == 0
    assert by(told, "guardhouse.ledger.lag_lines")[()] == 0
    lines = (gate.folder / "ledger/ledger.jsonl").read_bytes().count(b"\n")
    assert by(told, "guardhouse.ledger.lines")[()] == lines > count, "the ledger's own are lines, too"


def test_a_collector_that_is_away_costs_no_call(tmp_path):
    """Pushes that fail are counted where they can be scraped; calls pass; the server ends in time."""
    gate = Gate(tmp_path / "demo", 1)
    gate.start(*LISTEN, "--set", "metrics.otlp=http://127.0.0.1:1", "--set", "metrics.interval=100ms")
    try:
        with gate.channel() as channel:
            assert ask(channel, bearer(gate.token())) == "OK"
        until(lambda: by(scraped(gate), "guardhouse_metrics_pushes_total", "outcome")["failed",] >= 3)
    finally:
        assert gate.stop() == 0
    assert gate.log().count("the collector did not take the metrics: UNAVAILABLE") == 1
