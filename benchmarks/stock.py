"""A sink of the record that writes its spans with the stock OpenTelemetry SDK."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, TracerProvider

from guardhouse.interceptors import Call
from guardhouse.interceptors.record.spans import peer_address


class StockSpans:
    """A sink as `guardhouse.interceptors.record.spans.Spans`, with the same attributes, through the SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        self._start = provider.get_tracer("guardhouse").start_span

    def take(self, calls: Sequence[Call]) -> None:
        """Begin and end a span for each of settled *calls*."""
        nowhere = Context()
        for call in calls:
            method = call.method.removeprefix("/")
            span = self._start(
                method, nowhere, SpanKind.SERVER, attributes(call, method), start_time=call.wall_ns
            )
            span.end(call.wall_ns + call.ended_ns - call.opened_ns)


def attributes(call: Call, method: str) -> dict[str, str | int | Sequence[str]]:
    """What our own span says of a call that went well."""
    model_us = call.model_ns // 1000
    address, port = peer_address(call.peer)
    found: dict[str, str | int | Sequence[str]] = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.status_code": call.status.name if call.status else "UNKNOWN",
        "guardhouse.decision": "refused" if call.refusal else "allowed",
        "guardhouse.principal": call.principal.name,
        "guardhouse.proofs": call.principal.proofs,
        "guardhouse.model": call.model,
        "guardhouse.rule": call.rule,
        "network.peer.address": address,
        "network.peer.port": port,
        "guardhouse.request.bytes": call.request_bytes,
        "guardhouse.response.bytes": call.response_bytes,
        "guardhouse.chain_us": (call.ended_ns - call.opened_ns) // 1000 - model_us,
        "guardhouse.model_us": model_us,
    }
    if call.version:
        found["guardhouse.model.version"] = call.version
    return found
