"""Metrics over OTLP: read by the official messages, equal to a scrape, and of no matter to any call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as wire
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services

from guardhouse.interceptors import Metrics
from guardhouse.interceptors.metrics import CATALOGUE, state
from guardhouse.interceptors.metrics.push import pushing

from .metering import Page, settled


def spans(sent: int, lost: int) -> SimpleNamespace:
    """What an exporter tells."""
    return SimpleNamespace(sent=sent, lost={"closed": lost}, queued=0, spooled=0)


FAR = 3600.0  # seconds: only the last push happens


class Receiver(services.MetricsServiceServicer):
    """Keeps every request; answers with *status*, or says that it rejected *rejected* points."""

    def __init__(self) -> None:
        self.requests: list[wire.ExportMetricsServiceRequest] = []
        self.status = grpc.StatusCode.OK
        self.rejected = 0
        self.got = threading.Semaphore(0)

    def Export(self, request: Any, context: Any) -> wire.ExportMetricsServiceResponse:  # noqa: N802
        self.requests.append(request)
        self.got.release()
        if self.status is not grpc.StatusCode.OK:
            context.abort(self.status, "no")
        answer = wire.ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = self.rejected
        return answer

    def last(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        (resource,) = self.requests[-1].resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    """A real OTLP/gRPC receiver, and its address."""
    made, server = Receiver(), grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    services.add_MetricsServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def flat(metrics: dict[str, Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """OTLP metrics as the samples that Prometheus would have of them."""
    names = {metric.otlp: metric.name for metric in CATALOGUE}
    found = {}
    for otlp, metric in metrics.items():
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            labels = {pair.key.replace(".", "_"): pair.value.string_value for pair in point.attributes}
            for suffix, more, value in values(kind, point):
                found[names[otlp] + suffix, frozenset({**labels, **more}.items())] = value
    return found


def values(kind: str, point: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    """The suffix, the extra labels and the value of each sample in *point*."""
    if kind != "histogram":
        yield "", {}, getattr(point, point.WhichOneof("value"))
        return
    yield "_sum", {}, point.sum
    yield "_count", {}, point.count
    bounds = [*map(str, point.explicit_bounds), "+Inf"]
    for place, bound in enumerate(bounds):
        yield "_bucket", {"le": bound}, sum(point.bucket_counts[: place + 1])


def test_what_is_pushed_is_what_is_scraped(receiver: tuple[Receiver, str]) -> None:
    """The same series with the same values, all but those that time itself moves."""
    kept, endpoint = receiver
    metrics = Metrics({"digits"})
    metrics.take(
        [settled(), settled("RATE_LIMITED", "rate"), settled("MODEL_DENIED", model="x"), settled(known=False)]
    )
    metrics.watch(lambda: state.spans(spans(3, 1), ["closed"]))
    with pushing(metrics, endpoint, FAR):
        scraped = Page(metrics).samples
    pushed = flat(kept.last())

    assert pushed.keys() == scraped.keys()
    moving = ("process_", "guardhouse_metrics_pushes")
    assert {key: value for key, value in pushed.items() if not key[0].startswith(moving)} == pytest.approx(
        {key: value for key, value in scraped.items() if not key[0].startswith(moving)}
    )


def test_the_message_is_as_the_specification_wants(receiver: tuple[Receiver, str]) -> None:
    """Cumulative since one start, monotonic sums, the service's resource, the schema of the names."""
    kept, endpoint = receiver
    metrics = Metrics()
    metrics.take([settled()])
    with pushing(metrics, endpoint, FAR, service="mine"):
        pass
    told, (resource,) = kept.last(), kept.requests[-1].resource_metrics
    calls, duration = told["guardhouse.calls"], told["rpc.server.call.duration"]

    assert (calls.sum.is_monotonic, calls.sum.aggregation_temporality, calls.unit) == (True, 2, "{call}")
    assert (duration.histogram.aggregation_temporality, duration.unit) == (2, "s")
    assert {point.start_time_unix_nano for point in calls.sum.data_points} == {metrics.since}
    assert all(point.time_unix_nano >= metrics.since for point in calls.sum.data_points)
    assert resource.schema_url == "https://opentelemetry.io/schemas/1.45.0"
    assert ("service.name", "mine") in [(p.key, p.value.string_value) for p in resource.resource.attributes]


def test_it_pushes_again_and_again_and_a_last_time(receiver: tuple[Receiver, str]) -> None:
    """Counts only grow, and the last push has what happened after all that is measured was closed."""
    kept, endpoint = receiver
    metrics, lost = Metrics(), 0
    metrics.watch(lambda: state.spans(spans(0, lost), ["closed"]))
    with pushing(metrics, endpoint, 0.01):
        assert kept.got.acquire(timeout=20)
        assert kept.got.acquire(timeout=20)
        lost = 5
    points = kept.last()["guardhouse.spans.lost"].sum.data_points

    assert [point.as_int for point in points] == [5]


@pytest.mark.parametrize("trouble", ["refused", "rejected", "away"])
def test_a_push_that_fails_is_counted_and_matters_to_nobody(
    receiver: tuple[Receiver, str], trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the collector does, leaving works, and it is known how often it did."""
    kept, endpoint = receiver
    kept.status = grpc.StatusCode.UNAUTHENTICATED if trouble == "refused" else grpc.StatusCode.OK
    kept.rejected = 3 if trouble == "rejected" else 0
    metrics = Metrics()
    with pushing(metrics, "http://127.0.0.1:1" if trouble == "away" else endpoint, FAR):
        metrics.take([settled()])
    page = Page(metrics)

    assert page("guardhouse_metrics_pushes_total", outcome="failed") == 1
    assert page("guardhouse_metrics_pushes_total", outcome="sent") == 0
    assert len([line for line in caplog.messages if "did not take the metrics" in line]) == 1


def test_an_address_that_is_none_is_refused() -> None:
    """Before anything is sent, and with what to write."""
    with pytest.raises(ValueError, match=r"write http://127\.0\.0\.1:4317"), pushing(Metrics(), "collector"):
        pass
