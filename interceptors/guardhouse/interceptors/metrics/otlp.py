"""A reading of the metrics as an OTLP request, cumulative: each one says everything since the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from guardhouse.interceptors.record.spans import SCHEMA_URL

from .families import Family, Labels

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
Span = tuple[int, int]  # when counting began, and when it was read: nanoseconds since the epoch


def request(families: Iterable[Family], resource: bytes, since: int, now: int) -> bytes:
    """*families* as an encoded `ExportMetricsServiceRequest`.

    Args:
        families: What was read.
        resource: Who says it: an encoded `Resource`.
        since: When counting began, in nanoseconds since the epoch.
        now: When it was read.
    """
    scope = ScopeMetrics(
        scope=InstrumentationScope(name="guardhouse"),
        metrics=[_metric(family, (since, now)) for family in families],
        schema_url=SCHEMA_URL,
    )
    told = ResourceMetrics(
        resource=Resource.FromString(resource), scope_metrics=[scope], schema_url=SCHEMA_URL
    )
    return ExportMetricsServiceRequest(resource_metrics=[told]).SerializeToString()


def _metric(family: Family, span: Span) -> Metric:
    metric = family.metric
    message = Metric(name=metric.otlp, description=metric.words, unit=metric.unit)
    if metric.kind == "histogram":
        points = _distributions(family, span)
        message.histogram.CopyFrom(Histogram(data_points=points, aggregation_temporality=CUMULATIVE))
    elif metric.kind == "counter":
        message.sum.CopyFrom(
            Sum(data_points=_numbers(family, span), aggregation_temporality=CUMULATIVE, is_monotonic=True)
        )
    else:
        message.gauge.CopyFrom(Gauge(data_points=_numbers(family, span)))
    return message


def _numbers(family: Family, span: Span) -> Iterator[NumberDataPoint]:
    for labels, number in family.numbers.items():
        point = NumberDataPoint(
            attributes=_attributes(family, labels), start_time_unix_nano=span[0], time_unix_nano=span[1]
        )
        if isinstance(number, int):
            point.as_int = number
        else:
            point.as_double = number
        yield point


def _distributions(family: Family, span: Span) -> Iterator[HistogramDataPoint]:
    for labels, distribution in family.distributions.items():
        yield HistogramDataPoint(
            attributes=_attributes(family, labels),
            start_time_unix_nano=span[0],
            time_unix_nano=span[1],
            count=sum(distribution.counts),
            sum=distribution.total,
            bucket_counts=distribution.counts,
            explicit_bounds=family.metric.bounds,
        )


def _attributes(family: Family, labels: Labels) -> Iterator[KeyValue]:
    for name, value in zip(family.metric.labels, labels, strict=True):
        if value:
            yield KeyValue(key=name, value=AnyValue(string_value=value))
