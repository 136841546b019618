"""One server span for each call, written straight as OTLP bytes.

Names follow the RPC semantic conventions v1.45 (stable) and our own `guardhouse.*`, listed in
docs/tracing.md. What does not change from call to call (who, what, which rule, which outcome) is encoded
once and kept.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from grpc import StatusCode

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG
from guardhouse.interceptors.ledger.chain import Link
from guardhouse.interceptors.usage import Usage

from .wire import attribute, field, varint

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"
# The server's own failures; a refusal is an answer, not an error of the span (semantic conventions, RPC).
ERRORS: Final = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
_ATTRIBUTE: Final = b"J"  # Span.attributes = 9
_TIMES = struct.Struct("<BQBQ").pack  # Span.start_time_unix_nano = 7, end_time_unix_nano = 8
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def caller_context(call: Call) -> tuple[bytes, bytes, int] | None:
    """The caller's trace id, span id and flags, from its `traceparent` (W3C Trace Context, 3.2).

    Anything but exactly one well-formed value is as good as none.
    """
    sent = call.values("traceparent")
    if len(sent) != 1 or not isinstance(sent[0], str):
        return None
    found = _TRACEPARENT.fullmatch(sent[0])
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return None
    return bytes.fromhex(found[1]), bytes.fromhex(found[2]), int(found[3], 16)


class Headed(Protocol):
    """A ledger, as far as spans tell of it."""

    @property
    def head(self) -> Link:
        """Number and hash of the newest line on disk."""


class Spans:
    """The trace as a sink. Keeps the bytes that calls have in common.

    Args:
        export: Takes spans as concatenated `ScopeSpans.spans` fields, and how many they are; never waits.
        book: A ledger; its head goes along with the last span of each batch, so that whoever keeps the trace
            can tell when lines were cut off.
    """

    def __init__(self, export: Callable[[bytes, int], None], book: Headed | None = None) -> None:
        self._export = export
        self._book = book
        self._kept: Bounded[tuple[object, ...], bytes] = Bounded(8192)

    def take(self, calls: Sequence[Call]) -> None:
        """Export a span for each of settled *calls*."""
        found = [self._span(call) for call in calls[:-1]]
        found.append(self._span(calls[-1], self._anchor()))
        spans = [span for span in found if span]
        self._export(b"".join(spans), len(spans))

    def _span(self, call: Call, more: bytes = b"") -> bytes:
        try:
            return self.write(call, more)
        except Exception:  # it must cost no other its span
            LOG.exception("the span of call %016x could not be written", call.span_id)
            return b""

    def _anchor(self) -> bytes:
        if self._book is None:
            return b""
        head = self._book.head
        return attribute(_ATTRIBUTE, "guardhouse.ledger.head", f"{head.sequence}:{head.digest}")

    def write(self, call: Call, more: bytes = b"") -> bytes:
        """The span of a settled *call*, with *more* encoded fields, as one `ScopeSpans.spans` field."""
        took = call.ended_ns - call.opened_ns
        wall, model, queue = call.wall_ns, call.model_ns // 1000, call.queue_ns // 1000
        chain = took // 1000 - model - queue
        span = b"".join(
            (
                b"\n\x10",
                call.trace_id.to_bytes(16, "big"),
                b"\x12\x08",
                call.span_id.to_bytes(8, "big"),
                self._common(call),
                _TIMES(0x39, wall, 0x41, wall + took),
                _peer(call.peer),
                _sizes(call.request_bytes, call.response_bytes, call.requests, call.responses, call.units),
                _count("guardhouse.chain_us", max(0, chain)),
                _count("guardhouse.model_us", model),
                _queue(queue) if queue else b"",
                _tokens(call.usage) if call.usage else b"",
                _caller(call),
                more,
            )
        )
        return b"\x12%b%b" % (varint(len(span)), span)

    def _common(self, call: Call) -> bytes:
        refusal = call.refusal
        reason = refusal.reason if refusal else ""
        if not call.known or call.capture or call.shadow or call.degraded:
            return _common(call, reason)  # strangers invent paths, each kilobytes long
        guard = refusal.guard if refusal else ""  # several guards may give one reason
        key = (call.method, call.principal, call.model, call.version, call.rule, call.status, reason, guard)
        kept = self._kept.get(key)
        if kept is None:
            kept = _common(call, reason)
            self._kept.put(key, kept)
        return kept


def _common(call: Call, reason: str) -> bytes:
    """Name, kind, status and every attribute that many calls share."""
    status = call.status or StatusCode.UNKNOWN
    method = call.method.removeprefix("/")
    facts: dict[str, str | tuple[str, ...]] = {
        "rpc.system.name": "grpc",
        "rpc.method": method if call.known else "_OTHER",
        "rpc.status_code": status.name,
        "guardhouse.decision": "refused" if call.refusal else "allowed",
    }
    if not call.known:
        facts["rpc.method_original"] = method[:256]
    if status in ERRORS:
        facts["error.type"] = status.name
    optional: dict[str, str | tuple[str, ...]] = {
        "guardhouse.guard": call.refusal.guard if call.refusal else "",
        "guardhouse.reason": reason,
        "guardhouse.principal": call.principal.name,
        "guardhouse.proofs": call.principal.proofs,
        "guardhouse.model": call.model,
        "guardhouse.model.version": call.version,
        "guardhouse.rule": call.rule,
        "guardhouse.shadow": call.shadow,
        "guardhouse.degraded": call.degraded,
        "guardhouse.capture": call.capture,
    }
    facts.update({key: value for key, value in optional.items() if value})
    head = field(b"*", (method if call.known else "_OTHER").encode("utf-8", "replace")) + b"0\x02"
    attributes = b"".join(attribute(_ATTRIBUTE, key, value) for key, value in facts.items())
    # Span.status = 15 { code = 3: ERROR = 2 }
    return head + attributes + (b"z\x02\x18\x02" if status in ERRORS else b"")


@lru_cache(maxsize=4096)
def _sizes(request_bytes: int, response_bytes: int, requests: int, responses: int, units: int) -> bytes:
    """The attributes of how much it was: the same for a client that asks the same over and over."""
    parts = [
        _count("guardhouse.request.bytes", request_bytes),
        _count("guardhouse.response.bytes", response_bytes),
    ]
    if units:
        parts.append(_count("guardhouse.units", units))
    if requests > 1 or responses > 1:
        parts.append(_count("guardhouse.request.messages", requests))
        parts.append(_count("guardhouse.response.messages", responses))
    return b"".join(parts)


def _tokens(usage: Usage) -> bytes:
    """As the GenAI semantic conventions name them (in development, when this was written)."""
    return _count("gen_ai.usage.input_tokens", usage.input) + _count(
        "gen_ai.usage.output_tokens", usage.output
    )


def _queue(queue: int) -> bytes:
    return _count("guardhouse.queue_us", queue)


@lru_cache(maxsize=4096)
def _peer(peer: str) -> bytes:
    address, port = peer_address(peer)
    if not address:
        return b""
    return attribute(_ATTRIBUTE, "network.peer.address", address) + _count("network.peer.port", port)


# Keys with the head of their value, and how long both are beside the number.
_KEYS = {
    key: (field(b"\n", key.encode()) + b"\x12", len(key) + 4)
    for key in (
        "guardhouse.request.bytes",
        "guardhouse.response.bytes",
        "guardhouse.request.messages",
        "guardhouse.response.messages",
        "guardhouse.chain_us",
        "guardhouse.model_us",
        "guardhouse.queue_us",
        "guardhouse.units",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "network.peer.port",
    )
}


def _count(key: str, number: int) -> bytes:
    """A non-negative integer attribute, its key encoded beforehand."""
    head, length = _KEYS[key]
    value = varint(number)
    size = len(value) + 1
    return b"J%c%b%c\x18%b" % (length + size, head, size, value)


def _caller(call: Call) -> bytes:
    """The caller's own span: our parent where the policy trusts its trace, else a link to it.

    It is told about, never trusted to be ours (W3C Trace Context, section 4).
    """
    if call.parent_id:
        return b"\x22\x08" + call.parent_id.to_bytes(8, "big")  # Span.parent_span_id = 4
    for name, _ in call.metadata:
        if name == "traceparent":
            return _link(caller_context(call))
    return b""


def _link(context: tuple[bytes, bytes, int] | None) -> bytes:
    if context is None:
        return b""
    trace_id, span_id, flags = context
    # Span.links = 13 { trace_id = 1, span_id = 2, flags = 6 }; bit 8 says the remote flag (9) is known
    return field(b"j", b"\n\x10" + trace_id + b"\x12\x08" + span_id + b"5" + struct.pack("<I", flags | 0x300))


def peer_address(peer: str) -> tuple[str, int]:
    """Address and port from grpc's peer string, "ipv4:127.0.0.1:50051" or "ipv6:%5B::1%5D:50051"."""
    kind, _, rest = peer.partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return "", 0
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]"), int(port)
