"""A real OTLP/gRPC receiver that keeps every span it is sent, for tests."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Spans as dictionaries: name, trace_id and span_id in hex, and every attribute."""

    def __init__(self) -> None:
        self.spans: list[dict[str, object]] = []
        self.raw: list[bytes] = []  # every request as it came
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request, context):  # noqa: N802 - the name on the wire
        self.raw.append(request.SerializeToString())
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(_flat(span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait(self, count: int, seconds: float = 20.0) -> list[dict[str, object]]:
        """The spans, once there are *count* of them, or as many as came in time."""
        end = time.monotonic() + seconds
        while len(self.spans) < count and time.monotonic() < end:
            time.sleep(0.05)
        return self.spans

    def requests(self) -> list[trace_service_pb2.ExportTraceServiceRequest]:
        """Every request, whole."""
        return [trace_service_pb2.ExportTraceServiceRequest.FromString(raw) for raw in self.raw]

    def stop(self) -> None:
        self._server.stop(None).wait()


def _flat(span) -> dict[str, object]:
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "status": span.status.code,
        "links": [link.trace_id.hex() for link in span.links],
        **attributes,
    }
