"""The caller's trace, for the server to join or link: W3C Trace Context, level 2, section 3.2."""

try:
    from opentelemetry import trace
except ImportError:  # it is nobody's duty to install it
    trace = None  # type: ignore[assignment]  # a module, or nothing


def traceparent() -> str | None:
    """Return the current OpenTelemetry span as a `traceparent`, or None where there is none.

    Baggage and tracestate are not sent: they may hold what the server has no business to know.
    """
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"
