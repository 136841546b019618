"""The caller's trace goes along, and nothing else of its context."""

from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from guardhouse.clients import Client, tracing
from guardhouse.clients.testing import Server


def test_the_current_span_is_sent(server: Server) -> None:
    """Within a span of the SDK its ids arrive as traceparent, sampled; baggage does not leave."""
    attached = context.attach(baggage.set_baggage("secret", "value"))
    try:
        with TracerProvider().get_tracer("test").start_as_current_span("work") as span:
            ids = span.get_span_context()
            with Client.from_profile(server.profile) as client:
                client.live()
    finally:
        context.detach(attached)
    (call,) = server.calls
    assert call.metadata["traceparent"] == f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"
    assert ids.trace_flags.sampled
    assert not {"baggage", "tracestate"} & call.metadata.keys()


def test_an_unsampled_span_says_so() -> None:
    """The sampled flag is the span's own."""
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_as_current_span("work"):
        flags = int((tracing.traceparent() or "").rpartition("-")[2], 16)
    assert not flags & 1


def test_without_a_span_nothing_is_sent(server: Server) -> None:
    """Outside of any span there is no traceparent."""
    with Client.from_profile(server.profile) as client:
        client.live()
    assert "traceparent" not in server.calls[0].metadata


def test_without_opentelemetry_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, as its absent module stands for, no trace is claimed."""
    absent: Any = None
    monkeypatch.setattr(tracing, "trace", absent)
    assert tracing.traceparent() is None
