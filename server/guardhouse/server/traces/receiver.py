"""OTLP/gRPC on a loopback port: every Export is one transaction, answered when it is on disk.

Threads rather than an event loop: parsing and SQLite both block, and a terminal that stands still (Ctrl-S)
must not hold up whoever sends.
"""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from guardhouse.server.traces.listen import busy, join, parse_listen, probe
from guardhouse.server.traces.otlp import read_request
from guardhouse.server.traces.store import Store

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
MAX_MESSAGE = 16 * 1024 * 1024
THREADS = 8  # one writes; the others wait, so that a half-open call does not stop the rest
NOT_OTLP = "not an ExportTraceServiceRequest"
CANNOT_WRITE = "the store of traces cannot be written now"
GRACE = 2.0  # seconds that running Exports get at the end
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),  # else a second receiver would share the port, and each get half of the spans
)


@contextmanager
def receiving(store: Store, listen: str, complain: Callable[[str], None]) -> Iterator[str]:
    """Receive spans into *store* at *listen*; yields the address, with the port that was really taken.

    *complain* gets one line, from any thread, for each Export that could not be stored. At the end running
    Exports finish, so the store may be closed next. Raises `ListenError`.
    """
    host, port = parse_listen(listen)
    probe(host, port)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="otlp") as pool:
        server = grpc.server(pool, handlers=[_handlers(store, complain)], options=OPTIONS)
        try:
            port = server.add_insecure_port(join(host, port))
        except RuntimeError as error:  # taken between the probe and now
            raise busy(port) from error
        server.start()
        try:
            yield join(host, port)
        finally:
            server.stop(GRACE).wait()


def accept(message: bytes, store: Store, complain: Callable[[str], None]) -> ExportTraceServiceResponse:
    """Store what an Export request holds, and answer it.

    Full success leaves `partial_success` unset, as OTLP wants it. Raises `DecodeError`, or `sqlite3.Error`
    after *complain* had a line.
    """
    intake = read_request(ExportTraceServiceRequest.FromString(message))
    try:
        store.add(intake.spans)
    except sqlite3.Error as error:
        complain(f"{len(intake.spans)} spans were not stored: {error}")
        raise
    if not intake.rejected:
        return ExportTraceServiceResponse()
    lost = ExportTracePartialSuccess(rejected_spans=intake.rejected, error_message=intake.message)
    return ExportTraceServiceResponse(partial_success=lost)


def _handlers(store: Store, complain: Callable[[str], None]) -> grpc.GenericRpcHandler:
    def export(message: bytes, context: grpc.ServicerContext) -> Any:
        try:  # parsed here, since gRPC would answer bad bytes with INTERNAL and print a traceback
            return accept(message, store, complain)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, NOT_OTLP)
        except sqlite3.Error:
            # OTLP: UNAVAILABLE asks the sender to try again; what was kept already is not kept twice.
            context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_WRITE)

    method: grpc.RpcMethodHandler[bytes, ExportTraceServiceResponse] = grpc.unary_unary_rpc_method_handler(
        export,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Export": method})
