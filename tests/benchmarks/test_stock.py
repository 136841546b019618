"""The SDK is measured at the same work: its spans say what ours do."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.echo import INFER
from benchmarks.stock import StockSpans
from guardhouse.interceptors import Call, Principal
from guardhouse.interceptors.record.spans import Spans


def answered() -> Call:
    """A call as the benchmark makes them."""
    call = Call(INFER, (), True, wall_ns=1_700_000_000_000_000_000, opened_ns=5_000, span_id=1, trace_id=1)
    call.ended_ns, call.model_ns, call.status = 905_000, 300_000, StatusCode.OK
    call.principal = Principal("spiffe://acme/a", proofs=("mtls", "jwt"))
    call.model, call.rule, call.peer = "echo", "analyst/allow[0]", "ipv4:127.0.0.1:50051"
    call.requests = call.responses = 1
    call.request_bytes, call.response_bytes = 284, 280
    return call


def test_the_same_span() -> None:
    """Name, times, kind and every attribute of ours are on the SDK's span too."""
    provider, kept, ours = TracerProvider(), InMemorySpanExporter(), list[bytes]()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    StockSpans(provider).take([answered()])
    Spans(lambda spans, _count: ours.append(spans)).take([answered()])
    (theirs,), (own,) = kept.get_finished_spans(), ScopeSpans.FromString(ours[0]).spans
    assert theirs.name == own.name
    assert theirs.kind.name == "SERVER"
    assert (theirs.start_time, theirs.end_time) == (own.start_time_unix_nano, own.end_time_unix_nano)
    assert dict(theirs.attributes or {}) == {pair.key: _value(pair.value) for pair in own.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return tuple(map(_value, value.array_value.values)) if kind == "array_value" else getattr(value, kind)
