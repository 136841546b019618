"""The collector of the benchmark counts every span, whoever encoded it."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks.sink import listen, spans_in
from guardhouse.interceptors import exporter_to

NOTE = KeyValue(key="some.key", value=AnyValue(string_value="v" * 200))


def request(shape: list[list[int]]) -> bytes:
    """An export of *shape*: for each resource, the number of spans in each of its scopes."""
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n", attributes=[NOTE, NOTE])
    resources = [
        ResourceSpans(
            resource=Resource(attributes=[NOTE]),
            scope_spans=[
                ScopeSpans(
                    scope=InstrumentationScope(name="it"), spans=[span] * spans, schema_url="https://x"
                )
                for spans in scopes
            ],
            schema_url="https://x",
        )
        for scopes in shape
    ]
    return ExportTraceServiceRequest(resource_spans=resources).SerializeToString()


@given(st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=3))
def test_the_count_is_that_of_the_official_messages(shape: list[list[int]]) -> None:
    """Any number of resources, scopes and spans, empty ones too."""
    assert spans_in(request(shape)) == sum(map(sum, shape))


@pytest.mark.parametrize("broken", [b"\x08\x01", b"\n", b"\n\x02\x12", b"\xff" * 3])
def test_what_is_no_export_is_not_counted(broken: bytes) -> None:
    """A field without a length, and bytes that end too soon: never a count."""
    with pytest.raises((ValueError, IndexError)):
        spans_in(broken)


def test_what_our_exporter_sends_is_counted() -> None:
    """Over the wire, from the exporter of the guard: all spans, however they are batched."""
    counts: list[int] = []
    server, port = listen(counts.append)
    try:
        span = ScopeSpans(spans=[Span(name="n")] * 7).SerializeToString()
        with closing(exporter_to(f"http://127.0.0.1:{port}")) as exporter:
            for _ in range(100):
                exporter.export(span, 7)
    finally:
        server.stop(0).wait()
    assert sum(counts) == 700
