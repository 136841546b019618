"""What a server tells of itself: its page of metrics, and what it pushes to a real OTLP/gRPC receiver."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
from gate import Gate
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from guardhouse.interceptors.metrics import CATALOGUE

PART = re.compile(r"_(bucket|sum|count)$")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(gate: Gate) -> Samples:
    """Every sample of the page by its name and labels."""
    with urllib.request.urlopen(gate.report["metrics"][0]) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples), "a series is there twice"
    return found


def by(samples: Samples, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """The samples called *name*, added up by the values of *labels*."""
    sums: Counter[tuple[str, ...]] = Counter()
    for (found, told), value in samples.items():
        if found == name:
            sums[tuple(dict(told).get(label, "") for label in labels)] += int(value)
    return sums


def families(page: Samples) -> dict[str, set[str]]:
    """The labels of each metric, by its name without `_bucket` and the like."""
    histograms = {metric.name for metric in CATALOGUE if metric.kind == "histogram"}
    found: dict[str, set[str]] = {}
    for name, labels in page:
        bare = PART.sub("", name)
        name = bare if bare in histograms else name
        found.setdefault(name, set()).update(label for label, _ in labels if label != "le")
    return found


class MetricsSink(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps the last push: numbers by OTLP name and labels."""

    def __init__(self) -> None:
        self.pushes = 0
        self.numbers: Samples = {}
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request, context):  # noqa: N802 - the name on the wire
        self.numbers = {
            (metric.name, frozenset((pair.key, pair.value.string_value) for pair in point.attributes)): number
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in getattr(metric, metric.WhichOneof("data")).data_points
            for number in [point.count if metric.HasField("histogram") else point.as_int or point.as_double]
        }
        self.pushes += 1
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()
