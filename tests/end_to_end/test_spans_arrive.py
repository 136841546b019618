"""Spans of a whole server: with the collector away, through a restart, at its end, and out of a model."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gate import INFER, Gate, bearer, query
from sink import Sink

CALLS = 20


@pytest.fixture
def gate(tmp_path) -> Iterator[Gate]:
    """A folder for servers; its collector is nowhere."""
    with socket.socket() as nowhere:
        nowhere.bind(("127.0.0.1", 0))
        made = Gate(tmp_path / "demo", nowhere.getsockname()[1])
        yield made
        if made.process and made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def ask(gate: Gate, calls: int = CALLS) -> None:
    """So many calls, all answered."""
    token = bearer(gate.token())
    with gate.channel() as channel:
        method = channel.unary_unary(INFER)
        for _ in range(calls):
            method(query("double", [1.0]).SerializeToString(), metadata=token, timeout=30)


def ended(gate: Gate) -> str:
    """What the server said until its end, which was a good one."""
    assert gate.stop() == 0
    return (gate.folder / "stderr").read_text()


def test_through_a_restart(gate: Gate) -> None:
    """The collector is away: at the end its spans are on the disk, and the next server sends them first."""
    gate.start("--set", "tracing.spool=spans")
    ask(gate)
    assert f"{CALLS} spans wait in the spool for the next start" in ended(gate)

    with ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        gate.start("--set", "tracing.spool=spans", "--set", f"tracing.endpoint=http://127.0.0.1:{sink.port}")
        ask(gate, 1)
        assert "lost" not in ended(gate)
    assert len({span["span_id"] for span in sink.spans}) == CALLS + 1
    assert list((gate.folder / "spans").glob("*.spans")) == []


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_hangs(gate: Gate, protocol: str) -> None:
    """It takes connections and never says a word: calls are answered, the server ends, all is counted."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"tracing.endpoint=http://127.0.0.1:{mute.getsockname()[1]}"
        gate.start("--set", endpoint, "--set", f"tracing.protocol={protocol}")
        ask(gate)
        said = ended(gate)
    assert f"{CALLS} spans were lost (shutdown: {CALLS}), 0 sent" in said


def test_a_spool_in_use(gate: Gate) -> None:
    """A second server on the same folder does not start, and says why in one line."""
    gate.start("--set", "tracing.spool=spans")
    other = Gate(gate.folder.parent / "other", 1)
    with pytest.raises(AssertionError):  # there is no report
        other.start("--set", f"tracing.spool={gate.folder / 'spans'}")
    other.process.wait(30)
    said = (other.folder / "stderr").read_text()
    assert re.search(
        r"^guardhouse: .*spans is in use; give each process a spool of its own$", said, re.MULTILINE
    )
    assert "Traceback" not in said


def test_a_model_that_traces(gate: Gate) -> None:
    """Its span is a child of its call's, though it runs in a thread, and both have one resource."""
    with ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        gate.start(
            "--set", "models.0.python=traced_model:double",
            "--set", f"tracing.endpoint=http://127.0.0.1:{sink.port}",
        )  # fmt: skip
        ask(gate, 3)
        ended(gate)
    resources = [each for request in sink.requests() for each in request.resource_spans]
    spans: dict[str, list[Any]] = {"guardhouse": [], "traced_model": []}
    for scope in (scope for each in resources for scope in each.scope_spans):
        spans[scope.scope.name] += scope.spans
    parents = {(span.trace_id, span.span_id) for span in spans["guardhouse"]}
    assert {(span.trace_id, span.parent_span_id) for span in spans["traced_model"]} == parents
    assert [span.name for span in spans["traced_model"]] == ["multiply"] * 3
    assert len({str(each.resource) for each in resources}) == 1


def test_an_environment_that_blinds(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the SDK switched off a model's own spans would be lost: the server says so, and does not start."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(AssertionError):  # there is no report
        gate.start()
    assert gate.process.wait(30) == 1
    (said,) = (line for line in gate.log().splitlines() if line.startswith("guardhouse: "))
    assert "none comes out; unset what switches OpenTelemetry off" in said
    assert "OTEL_SDK_DISABLED" in said
    assert "Traceback" not in gate.log()


def test_an_environment_that_does_not(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samplers, limits and exporters from the environment have no say: both kinds of spans arrive whole."""
    for name, value in {
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_PROPAGATORS": "none",
    }.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        endpoint = f"tracing.endpoint=http://127.0.0.1:{sink.port}"
        gate.start("--set", endpoint, "--set", "models.0.python=traced_model:double")
        ask(gate, 1)
        ended(gate)
    ours, theirs = sorted(sink.spans, key=lambda span: span["name"] == "multiply")
    assert (ours["rpc.method"], theirs["name"]) == ("inference.GRPCInferenceService/ModelInfer", "multiply")
    assert len(ours) > 15
