"""From OTLP's protobuf messages to our spans; what OTLP calls invalid is counted, not stored."""

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from guardhouse.server.traces.spans import Span

LAST_NANOSECOND = 2**63 - 1  # in the year 2262; SQLite's integers end there, OTLP's go on


@dataclass(frozen=True, slots=True)
class Intake:
    """What one Export request held: good spans, how many were refused, and why, in words for the sender."""

    spans: Sequence[Span]
    rejected: int
    message: str


def read_request(request: ExportTraceServiceRequest) -> Intake:
    """Every span of *request*; those that OTLP calls invalid are counted, never stored."""
    spans: list[Span] = []
    faults: Counter[str] = Counter()
    for resource_spans in request.resource_spans:
        resource = read_attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = read_scope(scope_spans.scope)
            for span in scope_spans.spans:
                fault = find_fault(span)
                if fault:
                    faults[fault] += 1
                else:
                    spans.append(read_span(span, resource, scope))
    return Intake(spans, faults.total(), "; ".join(f"{count} x {fault}" for fault, count in faults.items()))


def find_fault(span: trace_pb2.Span) -> str | None:
    """Why *span* cannot be kept. OTLP: an id of another length, or all zeroes, is invalid."""
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "trace id is not 16 bytes, or all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "span id is not 8 bytes, or all zero"
    if max(span.start_time_unix_nano, span.end_time_unix_nano) > LAST_NANOSECOND:
        return "time is after the year 2262"
    return None


def read_span(span: trace_pb2.Span, resource: Mapping[str, Any], scope: Mapping[str, Any]) -> Span:
    """The protobuf message as a `Span`. A parent of zeroes is no parent."""
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=span.status.code,
        message=span.status.message,
        trace_state=span.trace_state,
        flags=span.flags,
        attributes=read_attributes(span.attributes),
        resource=resource,
        scope=scope,
        links=[read_link(link) for link in span.links],
        events=[read_event(event) for event in span.events],
    )


def read_link(link: trace_pb2.Span.Link) -> dict[str, Any]:
    """A link to another trace, its ids in hex."""
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "attributes": read_attributes(link.attributes),
    }


def read_event(event: trace_pb2.Span.Event) -> dict[str, Any]:
    """Something that happened during a span."""
    return {
        "time_unix_nano": event.time_unix_nano,
        "name": event.name,
        "attributes": read_attributes(event.attributes),
    }


def read_scope(scope: InstrumentationScope) -> dict[str, Any]:
    """The library that made the span."""
    return {"name": scope.name, "version": scope.version, "attributes": read_attributes(scope.attributes)}


def read_attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as a dict; of a repeated key (which OTLP forbids) the last counts."""
    return {pair.key: read_value(pair.value) for pair in pairs}


def read_value(value: AnyValue) -> Any:
    """An OTLP value as protobuf's JSON has it: bytes in base64, NaN and infinities as text."""
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    if which == "double_value":
        number = value.double_value
        return number if math.isfinite(number) else str(number)
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    if which == "array_value":
        return [read_value(item) for item in value.array_value.values]
    if which == "kvlist_value":
        return read_attributes(value.kvlist_value.values)
    return getattr(value, which) if which else None
