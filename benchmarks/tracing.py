"""The OpenTelemetry SDK and its OTLP exporter as their documents set them up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


@contextmanager
def exporting(collector: str) -> Iterator[TracerProvider]:
    """A tracer provider that sends to *collector*, `host:port`; batches, queue and delays are the SDK's."""
    provider = TracerProvider(resource=Resource.create({"service.name": "guardhouse"}))
    exporter = OTLPSpanExporter(endpoint=f"http://{collector}", insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider
    finally:
        provider.shutdown()
