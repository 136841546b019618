"""One span for each call, in bytes of our own: read by the official messages, and held against the SDK's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode as Code
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status as SdkStatus
from opentelemetry.trace.status import StatusCode as SdkCode

from guardhouse.interceptors import Call, Principal, Refusal
from guardhouse.interceptors.ledger.chain import Link as Head
from guardhouse.interceptors.record.spans import ERRORS, Spans, caller_context, peer_address
from guardhouse.interceptors.usage import Usage

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


def _call(status: Code = Code.OK, reason: str = "", **facts: Any) -> Call:
    call = Call(METHOD, (), True, wall_ns=1_700_000_000_000_000_123, opened_ns=5_000, status=status)
    call.trace_id, call.span_id = 0x0123456789ABCDEF0123456789ABCDEF, 0xFEDCBA9876543210
    call.refusal = Refusal(reason) if reason else None
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def _read(call: Call, writer: Spans | None = None) -> Span:
    call.ended_ns = call.opened_ns + 2_500_000
    raw = (writer or Spans(print)).write(call)
    (span,) = ScopeSpans.FromString(raw).spans
    return span


def _attributes(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind or "string_value")
        if kind == "array_value":
            value = tuple(item.string_value for item in value.values)
        found[pair.key] = value
    assert len(found) == len(span.attributes), "an attribute was written twice"
    return found


FULL: dict[str, Any] = {
    "principal": Principal("spiffe://acme/a", proofs=("mtls", "jwt")),
    "model": "digits",
    "version": "1",
    "rule": "analyst/allow[0]",
    "peer": "ipv4:10.0.0.7:50051",
    "requests": 1,
    "responses": 1,
    "request_bytes": 300,
    "response_bytes": 70_000,
    "model_ns": 1_000_000,
    "metadata": (("traceparent", PARENT),),
}


def test_an_allowed_call() -> None:
    """Name, kind, ids, times and attributes of a call that passed."""
    span = _read(_call(**FULL))

    assert span.trace_id.hex() == "0123456789abcdef0123456789abcdef"
    assert span.span_id.hex() == "fedcba9876543210"
    assert (span.name, span.kind) == (METHOD[1:], Span.SPAN_KIND_SERVER)
    assert span.parent_span_id == b""
    assert span.start_time_unix_nano == 1_700_000_000_000_000_123
    assert span.end_time_unix_nano == 1_700_000_000_002_500_123
    assert span.status == Status()
    assert _attributes(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD[1:],
        "rpc.status_code": "OK",
        "guardhouse.decision": "allowed",
        "guardhouse.principal": "spiffe://acme/a",
        "guardhouse.proofs": ("mtls", "jwt"),
        "guardhouse.model": "digits",
        "guardhouse.model.version": "1",
        "guardhouse.rule": "analyst/allow[0]",
        "guardhouse.request.bytes": 300,
        "guardhouse.response.bytes": 70_000,
        "guardhouse.chain_us": 1500,
        "guardhouse.model_us": 1000,
        "network.peer.address": "10.0.0.7",
        "network.peer.port": 50051,
    }


def test_a_refused_call() -> None:
    """A refusal is an answer: its reason is told, the span is no error, the note stays in the ledger."""
    call = _call(Code.PERMISSION_DENIED, "MODEL_DENIED")
    assert call.refusal is not None
    call.refusal.note = "canary"
    span = _read(call)
    found = _attributes(span)

    assert (found["rpc.status_code"], found["guardhouse.decision"]) == ("PERMISSION_DENIED", "refused")
    assert found["guardhouse.reason"] == "MODEL_DENIED"
    assert "error.type" not in found
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert b"canary" not in span.SerializeToString()


@pytest.mark.parametrize("status", list(Code))
def test_which_statuses_are_errors(status: Code) -> None:
    """Those that the conventions for servers count as the server's own failures, and no other."""
    span = _read(_call(status))
    failed = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

    assert (span.status.code == Status.STATUS_CODE_ERROR) == (status.name in failed)
    assert _attributes(span).get("error.type") == (status.name if status.name in failed else None)
    assert {code.name for code in ERRORS} == failed


def test_an_unknown_method() -> None:
    """Its path is a stranger's text: kept short, out of the name, and out of memory."""
    writer = Spans(print)
    for number in range(50):
        path = f"/{number}" + "x" * 8000
        span = _read(_call(Code.UNIMPLEMENTED, "METHOD_UNKNOWN", known=False, method=path), writer)
        found = _attributes(span)
        assert (span.name, found["rpc.method"]) == ("_OTHER", "_OTHER")
        assert found["rpc.method_original"] == path[1:257]

    assert len(writer._kept) == 0


def test_kept_bytes_are_right_for_every_call() -> None:
    """What calls have in common is reused, and nothing is taken for common that is not."""
    writer = Spans(print)
    one, other = Principal("a"), Principal("a", proofs=("jwt",))
    variants: list[dict[str, Any]] = [
        {},
        {"principal": one},
        {"principal": other},
        {"model": "m"},
        {"version": "m"},
        {"rule": "m"},
        {"status": Code.NOT_FOUND},
        {"status": Code.NOT_FOUND, "reason": "MODEL_UNKNOWN"},
        {"method": "/a/B"},
    ]
    for facts in variants * 2:
        assert _read(_call(**facts), writer) == _read(_call(**facts))

    assert len(writer._kept) == len(variants)


TRACEPARENTS: dict[str, list[Any]] = {
    "absent": [],
    "empty": [""],
    "garbage": ["garbage"],
    "all zero trace": ["00-" + "0" * 32 + "-" + "cd" * 8 + "-01"],
    "all zero span": ["00-" + "ab" * 16 + "-" + "0" * 16 + "-01"],
    "version ff": [PARENT.replace("00-", "ff-", 1)],
    "upper case": [PARENT.upper()],
    "too long": [PARENT + "-x"],
    "a line more": [PARENT + "\n"],
    "foreign digits": [PARENT.replace("a", "٣")],  # a digit, but none of hexadecimal
    "two of them": [PARENT, PARENT],
    "one and garbage": ["garbage", PARENT],
    "bytes": [PARENT.encode()],
    "very long": ["00-" * 5000],
}


@pytest.mark.parametrize("which", TRACEPARENTS)
def test_a_traceparent_that_is_none(which: str) -> None:
    """Anything but one well-formed value is ignored: the trace is ours in any case."""
    call = _call(metadata=tuple(("traceparent", value) for value in TRACEPARENTS[which]))
    span = _read(call)

    assert caller_context(call) is None
    assert (len(span.links), span.parent_span_id) == (0, b"")


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_callers_trace_is_linked(flags: str) -> None:
    """A well-formed one becomes a link, also an unsampled one: a caller cannot switch the record off."""
    span = _read(_call(metadata=(("traceparent", PARENT[:-2] + flags),)))
    (link,) = span.links

    assert (link.trace_id, link.span_id) == (b"\xab" * 16, b"\xcd" * 8)
    assert link.flags == int(flags, 16) | 0x300
    assert span.trace_id != link.trace_id


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("ipv6:%5B::1%5D:50051", ("::1", 50051)),
        ("ipv6:[::1]:50051", ("::1", 50051)),
        ("unix:/run/x.sock", ("", 0)),
        ("unknown", ("", 0)),
        ("", ("", 0)),
        ("ipv4:127.0.0.1", ("", 0)),
    ],
)
def test_peers(peer: str, expected: tuple[str, int]) -> None:
    """Address and port, from what grpc calls a peer."""
    assert peer_address(peer) == expected


def _by_the_sdk(call: Call, ended_ns: int) -> Span:
    """The same span, as the SDK and its exporter would write it."""
    span = _read(call)
    context = SpanContext(call.trace_id, call.span_id, is_remote=False, trace_flags=TraceFlags(1))
    parent = caller_context(call)
    links = []
    if parent:
        trace_id, span_id, flags = parent
        ids = int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big")
        links.append(Link(SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(flags))))
    error = SdkStatus(SdkCode.ERROR) if call.status in ERRORS else SdkStatus(SdkCode.UNSET)
    sdk = ReadableSpan(
        span.name,
        context,
        kind=SpanKind.SERVER,
        resource=Resource({}),
        attributes=_attributes(span),
        links=links,
        status=error,
        start_time=call.wall_ns,
        end_time=call.wall_ns + ended_ns - call.opened_ns,
        instrumentation_scope=InstrumentationScope("guardhouse"),
    )
    encoded: Span = encode_spans([sdk]).resource_spans[0].scope_spans[0].spans[0]
    encoded.flags = 0  # the SDK says here that a root is not remote
    if encoded.status == Status():
        encoded.ClearField("status")
    for one in encoded.links:
        one.flags |= (parent or (b"", b"", 0))[2]  # and leaves a link's own flags out
    return encoded


texts = st.text(st.characters(codec="utf-8"), max_size=30)
counts = st.integers(0, 2**40)


@given(texts, texts, texts, st.sampled_from(list(Code)), counts, counts, st.booleans(), st.booleans())
def test_it_is_what_the_sdk_would_send(
    name: str, model: str, rule: str, status: Code, size: int, took: int, linked: bool, known: bool
) -> None:
    """Message for message, the span is the one that the SDK's own encoder makes of the same facts."""
    facts: dict[str, Any] = {
        **FULL,
        "principal": Principal(name),
        "model": model,
        "rule": rule,
        "request_bytes": size,
    }
    call = _call(status, **{**facts, "model_ns": took, "known": known, "requests": 3})
    if not linked:
        call.metadata = ()

    assert _read(call) == _by_the_sdk(call, call.opened_ns + 2_500_000)


def test_one_reason_of_two_guards() -> None:
    """The guard that is told is the one that refused, also where another gave the same reason before."""
    writer, told = Spans(print), []
    for guard in ("validation", "", "screening"):
        call = _call(Code.INVALID_ARGUMENT, "TENSOR_SHAPE")
        assert call.refusal is not None
        call.refusal.guard = guard
        told.append(_attributes(_read(call, writer)).get("guardhouse.guard", ""))

    assert told == ["validation", "", "screening"]


def test_the_ledgers_head_goes_along_with_the_last_span_of_a_batch() -> None:
    """Whoever keeps the trace can tell what the ledger had on disk at that moment."""
    batches: list[bytes] = []
    head = SimpleNamespace(head=Head(7, "ab" * 32))
    Spans(lambda raw, _count: batches.append(raw), head).take([_call(), _call()])
    first, last = map(_attributes, ScopeSpans.FromString(batches[0]).spans)

    assert "guardhouse.ledger.head" not in first
    assert last["guardhouse.ledger.head"] == f"7:{'ab' * 32}"


def test_the_chains_time_is_neither_the_models_nor_the_queues() -> None:
    """The three times of a call add up to its duration."""
    found = _attributes(_read(_call(model_ns=1_000_000, queue_ns=500_000)))

    assert [found[f"guardhouse.{part}_us"] for part in ("chain", "queue", "model")] == [1000, 500, 1000]


@pytest.mark.parametrize(
    ("fact", "value"),
    [("capture", "2026-11-25T10.jsonl:00cd"), ("shadow", "trial all"), ("degraded", "analyst")],
)
def test_what_is_seldom_of_a_call_is_told(fact: str, value: str) -> None:
    """It is on its span, and is no part of what is kept for other calls."""
    spans = Spans(print)
    told = _attributes(_read(_call(**{fact: value}), spans))
    plain = _attributes(_read(_call(), spans))

    assert told[f"guardhouse.{fact}"] == value
    assert f"guardhouse.{fact}" not in plain


def test_a_call_whose_model_tells_its_tokens_says_so() -> None:
    """By the names of the GenAI semantic conventions, also 0 of one kind; others say nothing of tokens."""
    told = _attributes(_read(_call(usage=Usage(12, 0))))
    untold = _attributes(_read(_call()))

    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (12, 0)
    assert not any(key.startswith("gen_ai.") for key in untold)


def test_a_span_that_fails_costs_no_other() -> None:
    """One call that cannot be written is logged; the others of its batch are exported, and counted."""
    exported: list[tuple[bytes, int]] = []
    Spans(lambda raw, count: exported.append((raw, count))).take(
        [_call(), _call(model_ns="no number"), _call()]
    )
    ((raw, count),) = exported

    assert (len(ScopeSpans.FromString(raw).spans), count) == (2, 2)
