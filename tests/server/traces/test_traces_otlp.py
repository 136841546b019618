"""From OTLP messages to spans."""

import math
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from guardhouse.server.traces.otlp import read_request, read_value
from guardhouse.server.traces.spans import from_row, to_document, to_row


def test_everything_a_span_says_is_kept(otlp: Any) -> None:
    """Kind, parent, times, status, resource, scope, links, events, state and flags all survive a row."""
    link = {"trace_id": b"l" * 16, "span_id": b"m" * 8, "attributes": [otlp.text("why", "caller")]}
    event = {"time_unix_nano": 7, "name": "retry", "attributes": [otlp.text("n", "2")]}
    message = otlp.span(
        1,
        parent_span_id=b"\0" * 7 + b"\x09",
        kind=3,
        status={"code": 2, "message": "gone"},
        trace_state="a=b",
        flags=257,
        attributes=[otlp.text("k", "v\0w")],
        links=[link],
        events=[event],
    )
    (span,) = read_request(otlp.request(message)).spans
    assert from_row(to_row(span)) == span
    assert to_document([span]) == {
        "trace_id": "0" * 31 + "1",
        "spans": [
            {
                "span_id": "0" * 15 + "1",
                "parent_span_id": "0" * 15 + "9",
                "name": "span 1",
                "kind": "CLIENT",
                "start_unix_nano": otlp.START + 1000,
                "end_unix_nano": otlp.START + 5_001_000,
                "status": {"code": "ERROR", "message": "gone"},
                "trace_state": "a=b",
                "flags": 257,
                "attributes": {"k": "v\0w"},
                "resource": {"service.name": "somebody"},
                "scope": {"name": "tests", "version": "1", "attributes": {}},
                "links": [{"trace_id": "6c" * 16, "span_id": "6d" * 8, "attributes": {"why": "caller"}}],
                "events": [{"time_unix_nano": 7, "name": "retry", "attributes": {"n": "2"}}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, "trace id"),
        ({"trace_id": b"x" * 15}, "trace id"),
        ({"trace_id": b"x" * 17}, "trace id"),
        ({"trace_id": bytes(16)}, "trace id"),
        ({"span_id": b""}, "span id"),
        ({"span_id": b"x" * 9}, "span id"),
        ({"span_id": bytes(8)}, "span id"),
        ({"start_time_unix_nano": 2**63}, "time"),
        ({"end_time_unix_nano": 2**64 - 1}, "time"),
    ],
)
def test_a_malformed_span_is_counted_and_the_rest_kept(
    otlp: Any, fields: dict[str, object], reason: str
) -> None:
    """What OTLP calls invalid costs only the span it is in, and its sender is told why."""
    intake = read_request(otlp.request(otlp.span(1), otlp.span(2, **fields), otlp.span(3)))
    assert [span.name for span in intake.spans] == ["span 1", "span 3"]
    assert intake.rejected == 1
    assert intake.message.startswith(f"1 x {reason}")


def test_faults_are_counted_by_kind(otlp: Any) -> None:
    """One message sums up a batch, however many of its spans are bad."""
    bad = [otlp.span(1, trace_id=b"x")] * 3 + [otlp.span(2, span_id=b"y")]
    intake = read_request(otlp.request(*bad))
    assert intake.rejected == 4
    assert intake.message.startswith("3 x trace id")
    assert "; 1 x span id" in intake.message


def test_the_latest_time_sqlite_holds_is_kept(otlp: Any) -> None:
    """The bound on times is where the store's integers end, not before."""
    assert len(read_request(otlp.request(otlp.span(1, end_time_unix_nano=2**63 - 1))).spans) == 1


def test_a_parent_of_zeroes_is_no_parent(otlp: Any) -> None:
    """Some exporters send eight zero bytes where they mean a root."""
    (span,) = read_request(otlp.request(otlp.span(1, parent_span_id=bytes(8)))).spans
    assert span.parent_id == ""


NESTED = AnyValue(
    kvlist_value=KeyValueList(
        values=[
            KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=-1)]))),
            KeyValue(key="none", value=AnyValue()),
        ]
    )
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AnyValue(), None),
        (AnyValue(string_value=""), ""),
        (AnyValue(bool_value=False), False),
        (AnyValue(int_value=2**63 - 1), 2**63 - 1),
        (AnyValue(double_value=0.5), 0.5),
        (AnyValue(double_value=math.nan), "nan"),
        (AnyValue(double_value=-math.inf), "-inf"),
        (AnyValue(bytes_value=b"\xff\0"), "/wA="),
        (NESTED, {"list": [-1], "none": None}),
    ],
)
def test_values_become_json(value: AnyValue, expected: object) -> None:
    """Each kind of OTLP value has one JSON value; those that JSON lacks are text."""
    assert read_value(value) == expected
