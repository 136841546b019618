"""What we put on the wire is what the stock SDK exporter would have sent for the same facts.

For any call: its facts are given to an SDK span as well, the stock OTLP exporter sends that to a real
receiver and ours sends its own; the two requests, parsed by the official messages, are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from grpc import StatusCode as Code
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from guardhouse.interceptors import Call, Principal, Refusal
from guardhouse.interceptors.record.export import Exporter
from guardhouse.interceptors.record.exporting import encoded
from guardhouse.interceptors.record.inner import scope_spans
from guardhouse.interceptors.record.spans import ERRORS, SCHEMA_URL, Spans, caller_context, peer_address

from .collectors import PROTOCOLS, Receiver, receiving, until

NAMED = {"service.name": "guardhouse", "n": 7, "x": 0.5, "on": True, "tags": ("a", "b")}
RESOURCE = Resource(NAMED, SCHEMA_URL)
SCOPE = InstrumentationScope("guardhouse", schema_url=SCHEMA_URL)


@pytest.fixture(scope="module", params=PROTOCOLS)
def receiver(request: Any) -> Iterator[Receiver]:
    """A receiver of either protocol."""
    with receiving(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def stock(receiver: Receiver) -> Iterator[Any]:
    """The stock exporter of that protocol, to that receiver."""
    made: Any = (
        OverGrpc(receiver.endpoint, insecure=True)
        if receiver.protocol == "grpc"
        else OverHttp(f"{receiver.endpoint}/v1/traces")
    )
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def ours(receiver: Receiver) -> Iterator[Exporter]:
    """Our exporter, to that receiver, each span in a request of its own."""
    made = Exporter(receiver.transport(), encoded(RESOURCE), batch=1)
    yield made
    made.close()


def _known_facts(call: Call) -> dict[str, Any]:
    """The attributes of docs/tracing.md for *call*, by name; every one of them, in any order."""
    status, method = call.status or Code.UNKNOWN, call.method.removeprefix("/")
    refusal, (address, port) = call.refusal, peer_address(call.peer)
    model_us = call.model_ns // 1000
    facts: dict[str, Any] = {
        "rpc.system.name": "grpc",
        "rpc.method": method if call.known else "_OTHER",
        "rpc.status_code": status.name,
        "error.type": status.name if status in ERRORS else "",
        "guardhouse.decision": "refused" if refusal else "allowed",
        "guardhouse.reason": refusal.reason if refusal else "",
        "guardhouse.principal": call.principal.name,
        "guardhouse.proofs": call.principal.proofs,
        "guardhouse.rule": call.rule,
        "guardhouse.model": call.model,
        "guardhouse.model.version": call.version,
        "network.peer.address": address,
    }
    facts = {key: value for key, value in facts.items() if value}
    facts |= {} if call.known else {"rpc.method_original": method[:256]}
    facts |= {"network.peer.port": port} if address else {}
    facts["guardhouse.request.bytes"] = call.request_bytes
    facts["guardhouse.response.bytes"] = call.response_bytes
    if call.requests > 1 or call.responses > 1:
        facts |= {
            "guardhouse.request.messages": call.requests,
            "guardhouse.response.messages": call.responses,
        }
    took = (call.ended_ns - call.opened_ns) // 1000
    return facts | {"guardhouse.chain_us": max(0, took - model_us), "guardhouse.model_us": model_us}


def _as_text(value: Any) -> Any:
    """What is no Unicode text, as we write it: the stock exporter would drop it, or fail."""
    if isinstance(value, tuple):
        return tuple(map(_as_text, value))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _sdk_span(call: Call, facts: Mapping[str, Any]) -> ReadableSpan:
    """The same call as a span of the SDK's."""
    links = []
    if (context := caller_context(call)) is not None:
        trace_id, span_id, flags = context
        ids = int.from_bytes(trace_id), int.from_bytes(span_id)
        links = [Link(SpanContext(*ids, True, TraceFlags(flags)))]
    status = StatusCode.ERROR if (call.status or Code.UNKNOWN) in ERRORS else StatusCode.UNSET
    return ReadableSpan(
        name=_as_text(facts["rpc.method"]),
        context=SpanContext(call.trace_id, call.span_id, False, TraceFlags(1)),
        resource=RESOURCE,
        attributes={key: _as_text(value) for key, value in facts.items()},
        links=links,
        kind=SpanKind.SERVER,
        status=Status(status),
        start_time=call.wall_ns,
        end_time=call.wall_ns + call.ended_ns - call.opened_ns,
        instrumentation_scope=SCOPE,
    )


def _normal(request: Any) -> Any:
    """A request with its attributes in the order of their keys, and without what differs on purpose.

    The stock exporter writes the flags of a span and of a link without the trace flags of W3C, which OTLP
    wants in the lowest eight bits; ours has no flags on a span, and both on a link. So only bits 8 and 9
    (`is_remote`) of links are compared. It writes a status that is not set as an empty message; ours leaves
    it out, which reads the same.
    """
    for resource in request.resource_spans:
        resource.resource.attributes.sort(key=lambda pair: pair.key)
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.attributes.sort(key=lambda pair: pair.key)
                span.flags = 0
                span.status.SetInParent()
                for link in span.links:
                    link.flags &= 0x300
    return request


texts = st.text(st.characters(codec=None), max_size=40)
counts = st.integers(0, 2**63 - 1)
TRACEPARENT = st.builds(
    lambda trace, span, flags: f"00-{trace:032x}-{span:016x}-{flags:02x}",
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
)
calls = st.builds(
    Call,
    method=texts.map(lambda text: f"/s{text}"),
    metadata=st.lists(st.tuples(st.just("traceparent"), TRACEPARENT | texts), max_size=2).map(tuple),
    known=st.booleans(),
    wall_ns=st.integers(1, 2**62),
    opened_ns=st.just(0),
    ended_ns=st.integers(0, 2**62),
    peer=st.sampled_from(["", "ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:65535", "unix:", "ipv4:1.2.3.4:0"]),
    principal=st.builds(Principal, texts, proofs=st.lists(texts, max_size=3).map(tuple)),
    model=texts,
    version=texts,
    rule=texts,
    requests=counts,
    responses=counts,
    request_bytes=counts,
    response_bytes=counts,
    model_ns=counts,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    status=st.none() | st.sampled_from(list(Code)),
    refusal=st.none() | st.sampled_from([Refusal("MODEL_DENIED"), Refusal("INTERNAL")]),
)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(call=calls)
def test_our_spans(receiver: Receiver, stock: Any, ours: Exporter, call: Call) -> None:
    """Any call: any text, also none of Unicode's; any number; links; every status."""
    receiver.requests.clear()
    assert stock.export([_sdk_span(call, _known_facts(call))]) is SpanExportResult.SUCCESS
    sent = ours.counts.sent
    ours.export(Spans(print).write(call), 1)
    until(lambda: ours.counts.sent == sent + 1)
    theirs, mine = receiver.requests

    assert str(_normal(mine)) == str(_normal(theirs))


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
attributes = st.dictionaries(st.text(min_size=1, max_size=10), values, max_size=4)
inner_spans = st.builds(
    lambda name, facts, code, words, kind: ReadableSpan(
        name=name,
        context=SpanContext(5, 6, False, TraceFlags(1)),
        parent=SpanContext(5, 7, False, TraceFlags(1)),
        resource=RESOURCE,
        attributes=facts,
        kind=kind,
        links=[Link(SpanContext(8, 9, True), facts)],
        status=Status(code, words if code is StatusCode.ERROR else None),
        start_time=1,
        end_time=2,
        instrumentation_scope=InstrumentationScope("model", "1", "https://schema.example/1"),
    ),
    st.text(max_size=20),
    attributes,
    st.sampled_from(StatusCode),
    st.text(max_size=20),
    st.sampled_from(SpanKind),
)


@MANY
@given(span=inner_spans)
def test_spans_of_a_model(receiver: Receiver, stock: Any, ours: Exporter, span: ReadableSpan) -> None:
    """Theirs too are what they would have been; the schema of our resource apart, nothing is changed."""
    receiver.requests.clear()
    assert stock.export([span]) is SpanExportResult.SUCCESS
    sent = ours.counts.sent
    ours.export_scope(scope_spans(span), 1)
    until(lambda: ours.counts.sent == sent + 1)
    theirs, mine = receiver.requests

    assert mine == theirs
