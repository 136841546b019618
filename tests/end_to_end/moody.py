"""A real OTLP/gRPC collector that is down, slow or refusing when told, and counts the spans it took in."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

# What collectors say when they will not have spans: one that asks to be tried again, and one that does not.
REFUSALS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)


class Moody(trace_service_pb2_grpc.TraceServiceServicer):
    """Down at first; `up` gives it the port it keeps. `taken` counts spans for which it answered OK."""

    def __init__(self) -> None:
        self.taken = 0
        self.delay = 0.0  # seconds before an answer
        self.refusing = False
        self.refused = 0  # requests
        self.port = 0
        self._refusals = itertools.cycle(REFUSALS)
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None
        self.up()
        self.down()

    def up(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def down(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def Export(self, request, context):  # noqa: N802 - the name on the wire
        if self.refusing:
            with self._lock:
                self.refused += 1
                code = next(self._refusals)
            context.abort(code, "not today")
        threading.Event().wait(self.delay)
        with self._lock:
            self.taken += sum(
                len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans
            )
        return trace_service_pb2.ExportTraceServiceResponse()
