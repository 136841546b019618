"""Spans of code inside a model: made with the OpenTelemetry API, sent by our exporter, counted with ours.

There is one tracer provider for a process, and processors cannot be taken from it again. So there is one
processor of ours, for as long as the process lives, and exporters come and go behind it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from guardhouse.interceptors.call import Call

from .collector import TracingError
from .export.tally import Reason
from .parent import Parent

LOG: Final = logging.getLogger("guardhouse.export")
LONGEST: Final = 8192  # characters of an attribute's value
# All of them, or the environment decides about those that are not here.
LIMITS: Final = SpanLimits(
    max_attributes=128,
    max_events=128,
    max_links=128,
    max_span_attributes=128,
    max_event_attributes=128,
    max_link_attributes=128,
    max_attribute_length=LONGEST,
    max_span_attribute_length=LONGEST,
)


class Outlet(Protocol):
    """Where finished spans go: an `Exporter`."""

    def export_scope(self, scope_spans: bytes, count: int) -> None:
        """Take *count* spans as one encoded `ScopeSpans`. Never waits."""

    def lose(self, count: int, reason: Reason) -> None:
        """Count spans that could not be handed over."""


class Outlets(SpanProcessor):
    """Hands every finished span to the outlets that are open."""

    def __init__(self) -> None:
        self._open: tuple[Outlet, ...] = ()

    def open(self, outlet: Outlet) -> None:
        """Hand spans to *outlet* from now on."""
        self._open = (*self._open, outlet)

    def close(self, outlet: Outlet) -> None:
        """No longer."""
        self._open = tuple(each for each in self._open if each is not outlet)

    def on_end(self, span: ReadableSpan) -> None:
        """Runs in the model's own code: it must cost that no exception."""
        if not self._open or not (span.context and span.context.trace_flags.sampled):
            return
        try:
            content = scope_spans(span)
        except Exception as error:
            LOG.warning("a span of a model's own code has no OTLP form: %s", type(error).__name__)
            for outlet in self._open:
                outlet.lose(1, "unencodable")
            return
        for outlet in self._open:
            outlet.export_scope(content, 1)


def scope_spans(span: ReadableSpan) -> bytes:
    """*span* as one encoded `ScopeSpans`. Its resource stays behind: the exporter has its own."""
    (made,) = encode_spans([span]).resource_spans
    (scope,) = made.scope_spans
    return bytes(scope.SerializeToString())


OUTLETS: Final = Outlets()
_JOINED: list[TracerProvider] = []  # the provider that has OUTLETS, once there is one


def install(outlet: Outlet, resource: Resource) -> Callable[[], None]:
    """Send the spans of code inside models to *outlet*, until the function that is returned is called.

    If the application has set a tracer provider, ours joins it, and the application decides which spans
    there are; else one that records every span becomes the global one.

    Raises:
        TracingError: The environment keeps the SDK from recording spans as they are.
    """
    check(resource)
    if not _JOINED:
        _join(resource)
    OUTLETS.open(outlet)
    return lambda: OUTLETS.close(outlet)


def provider(resource: Resource, processor: SpanProcessor) -> TracerProvider:
    """A tracer provider that no variable of the environment can make lose or cut a span; but see `check`."""
    made = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, span_limits=LIMITS)
    made.add_span_processor(processor)
    return made


def check(resource: Resource) -> None:
    """Make a span as a model would. Raises TracingError if what comes out is not all that was put in."""
    call = Call("", (), True, 0, 0, trace_id=1 << 127 | 1, span_id=1 << 63 | 1)
    facts: dict[str, Any] = {f"fact.{number}": "x" * 1000 for number in range(100)}
    probe = _Probe()
    token = attach(Parent(call))
    try:
        with provider(resource, probe).get_tracer("guardhouse").start_as_current_span("check") as span:
            span.set_attributes(facts)
            span.add_event("event", facts)
    finally:
        detach(token)
    if problem := _missing(probe.seen, call, facts):
        names = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        raise TracingError(
            f"spans of code inside models would be lost: {problem}; unset what switches OpenTelemetry off "
            f"(the environment has {names or 'no OTEL_ variable'})"
        )


class _Probe(SpanProcessor):
    """Keeps the spans it is told of."""

    def __init__(self) -> None:
        self.seen: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.seen.append(span)


def _missing(seen: list[ReadableSpan], call: Call, facts: dict[str, Any]) -> str:
    """What is wrong with the only span of *seen*, or ""."""
    if len(seen) != 1:
        return "none comes out"
    span, ids = seen[0], seen[0].parent
    if ids is None or (ids.trace_id, ids.span_id) != (call.trace_id, call.span_id):
        return "they do not find their parent"
    found = [dict(span.attributes or {}), *(dict(event.attributes or {}) for event in span.events)]
    return "" if found == [facts, facts] else "they are cut"


def _join(resource: Resource) -> None:
    """Have OUTLETS told of every span of the global provider, which is ours if there was none."""
    ours = provider(resource, OUTLETS)
    trace.set_tracer_provider(ours)  # keeps, and says so, what the application has set
    found = trace.get_tracer_provider()
    if found is ours:
        _JOINED.append(ours)
    elif isinstance(found, TracerProvider):
        found.add_span_processor(OUTLETS)
        _JOINED.append(found)
        LOG.info("the application's own tracer provider decides which spans of its code there are")
    else:
        LOG.warning(
            "the application's tracer provider is not the SDK's: spans of its own code are not sent by us"
        )
