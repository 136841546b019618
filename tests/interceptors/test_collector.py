"""From an endpoint to an exporter: the address, the name of the service, and the spans of a closed guard."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from guardhouse.interceptors import KeyStore, Policy, Refusal, exporter_to, guard
from guardhouse.interceptors.record.collector import resource


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - OTLP's name
        self.sent.extend(request.resource_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


def test_every_span_has_left_when_the_guard_is_closed(tmp_path: Path) -> None:
    """The span of a call of a moment ago is with the collector, under the name of the service."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call] # generated
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    KeyStore(tmp_path / "keys.db")
    keys = tmp_path / "keys.db"
    with guard(policy=Policy((), ()), ledger=None, api_keys=keys, spans=endpoint, service="shop") as chain:
        call = chain.open("/a/b", (), known=True)
        with pytest.raises(Refusal) as caught:
            chain.admit(call)
        chain.settle(call, caught.value)
    server.stop(None).wait()
    (sent,) = collector.sent
    (span,) = sent.scope_spans[0].spans
    assert int.from_bytes(span.span_id) == call.span_id
    assert _named(sent.resource.SerializeToString())["service.name"] == "shop"


def _named(encoded: bytes) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in Resource.FromString(encoded).attributes}


def test_the_resource_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours has our version, another's has not, and the environment comes before both."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    ours, theirs = _named(resource()), _named(resource("shop"))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gate")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    told = _named(resource("shop"))
    names = [named["service.name"] for named in (ours, theirs, told)]
    assert names == ["guardhouse", "shop", "gate"]
    assert ours["service.version"]
    assert "service.version" not in theirs
    assert told["deployment.environment.name"] == "test"


GOOD_ENDPOINTS = ["http://127.0.0.1:4317", "http://[::1]:4317/", "https://collector.example:4317"]
BAD_ENDPOINTS = [
    "",
    "127.0.0.1:4317",
    "http://host",
    "ftp://host:1",
    "http://a@host:1",
    "http://host:1/v1/traces",
]


def test_an_endpoint_is_a_scheme_a_host_and_a_port() -> None:
    """Anything else is refused in a line that shows how it looks."""
    for endpoint in GOOD_ENDPOINTS:
        exporter_to(endpoint).close()
    for endpoint in BAD_ENDPOINTS:
        with pytest.raises(ValueError, match=r"is not http\(s\)://host:port"):
            exporter_to(endpoint)
