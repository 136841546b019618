"""Pushes the metrics to an OTLP/gRPC collector from a thread of its own. No call ever notices.

Nothing is tried twice: what is pushed next says all that was not heard, and more.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from guardhouse.interceptors.record.exporting import encoded, resource

from . import Metrics
from .catalogue import PUSHES
from .families import Family, Labels
from .otlp import request

LOG = logging.getLogger("guardhouse.metrics")
METHOD: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
ENDPOINT: Final = re.compile(r"(https?)://([^/@?#\s]+:\d{1,5})/?")
PATIENCE: Final = 5.0  # seconds for one push, also for the last


@contextmanager
def pushing(
    metrics: Metrics, endpoint: str, interval: float = 15.0, service: str = "guardhouse"
) -> Iterator[None]:
    """Push *metrics* every *interval* seconds, and once more when left.

    Leave it after all that it measures has been closed: the last push then tells the end of it.

    Args:
        metrics: What is pushed.
        endpoint: The collector: http(s)://host:port.
        interval: Seconds between two pushes.
        service: What the metrics call this service, unless the environment names it.

    Raises:
        ValueError: The endpoint is no such address.
    """
    with _channel(endpoint) as channel:
        pusher = _Pusher(metrics, channel, encoded(resource(service)))
        stop = threading.Event()
        thread = threading.Thread(
            target=pusher.run, args=(interval, stop), name="guardhouse-metrics", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _channel(endpoint: str) -> grpc.Channel:
    found = ENDPOINT.fullmatch(endpoint)
    if found is None:
        raise ValueError(f"`{endpoint}` is not http(s)://host:port; write http://127.0.0.1:4317")
    if found[1] == "https":
        return grpc.secure_channel(found[2], grpc.ssl_channel_credentials())
    return grpc.insecure_channel(found[2])


class _Pusher:
    """Reads, encodes, sends, and counts how that went."""

    def __init__(self, metrics: Metrics, channel: grpc.Channel, resource: bytes) -> None:
        self._metrics = metrics
        self._resource = resource
        self._send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        self._outcomes: dict[Labels, float] = {("sent",): 0, ("failed",): 0}
        self._told = False  # that the collector does not take them
        metrics.watch(lambda: [Family(PUSHES, dict(self._outcomes))])

    def run(self, interval: float, stop: threading.Event) -> None:
        """Push until told to stop, and then a last time."""
        while not stop.wait(interval):
            self.push()
        self.push()

    def push(self) -> None:
        """Push once. Whatever goes wrong is counted."""
        try:
            message = request(self._metrics.read(), self._resource, self._metrics.since, time.time_ns())
            problem = _rejected(self._send(message, timeout=PATIENCE))
        except grpc.RpcError as error:
            problem = error.code().name
        except Exception:
            LOG.exception("the metrics could not be read")
            problem = "our own fault"
        self._count(problem)

    def _count(self, problem: str) -> None:
        self._outcomes["failed" if problem else "sent",] += 1
        if problem and not self._told:  # once, not every 15 s of an outage
            LOG.warning("the collector did not take the metrics: %s", problem)
        self._told = bool(problem)


def _rejected(answer: bytes) -> str:
    """What the collector threw away of what it took, or "". An answer that cannot be read says nothing."""
    try:
        rejected = ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points
    except DecodeError:
        return ""
    return f"{rejected} points were rejected" if rejected else ""
