"""A span as the store keeps it and the waterfall draws it: kept as a row, told as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are lower-case hex ("" for no parent), times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str = ""
    kind: int = 0
    start_ns: int = 0
    end_ns: int = 0
    status: int = 0
    message: str = ""
    trace_state: str = ""
    flags: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[Mapping[str, Any]] = field(default_factory=list)
    events: Sequence[Mapping[str, Any]] = field(default_factory=list)


# The order of the store's columns; those named here hold JSON.
COLUMNS = tuple(Span.__dataclass_fields__)
JSON_COLUMNS = ("attributes", "resource", "scope", "links", "events")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_row(span: Span) -> tuple[Any, ...]:
    """*span* as values of `COLUMNS`."""
    return tuple(
        _encode(getattr(span, name)) if name in JSON_COLUMNS else getattr(span, name) for name in COLUMNS
    )


def from_row(row: Sequence[Any]) -> Span:
    """The span that `to_row` wrote."""
    pairs = zip(COLUMNS, row, strict=True)
    return Span(**{name: json.loads(value) if name in JSON_COLUMNS else value for name, value in pairs})


def to_document(spans: Sequence[Span]) -> dict[str, Any]:
    """One trace as plain JSON values, for programs. *spans* is not empty."""
    return {"trace_id": spans[0].trace_id, "spans": [_span_document(span) for span in spans]}


def _span_document(span: Span) -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "name": span.name,
        "kind": word(KINDS, span.kind),
        "start_unix_nano": span.start_ns,
        "end_unix_nano": span.end_ns,
        "status": {"code": word(STATUSES, span.status), "message": span.message},
        "trace_state": span.trace_state,
        "flags": span.flags,
        **{name: getattr(span, name) for name in JSON_COLUMNS},
    }


def word(words: Sequence[str], number: int) -> str:
    """The name of an enum's *number*; a number nobody named yet stands for itself."""
    return words[number] if 0 <= number < len(words) else str(number)
