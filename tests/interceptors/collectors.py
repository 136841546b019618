"""Real OTLP receivers for tests, over gRPC and over HTTP, as kind or unkind as a test wants them."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode as Code
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from guardhouse.interceptors import Call
from guardhouse.interceptors.record.collector import Collector
from guardhouse.interceptors.record.exporting import transport_to
from guardhouse.interceptors.record.spans import Spans

from . import certificates

PROTOCOLS = ("grpc", "http/protobuf")


class Reply(NamedTuple):
    """What the receiver says: fine (*rejected* spans thrown away), or *code*; *after* asks to come back."""

    code: Code = Code.OK
    rejected: int = 0
    after: float | None = None


LATER, NEVER = Reply(Code.UNAVAILABLE), Reply(Code.INVALID_ARGUMENT)
HTTP = {Code.OK: 200, Code.UNAVAILABLE: 503, Code.RESOURCE_EXHAUSTED: 429, Code.INVALID_ARGUMENT: 400}


@dataclass
class Receiver:
    """Keeps what it accepts; `behave` decides what it says to the nth request."""

    protocol: str
    endpoint: str = ""
    asked: int = 0
    times: list[float] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    behave: Callable[[int], Reply] = lambda number: Reply()

    def take(self, raw: bytes, headers: dict[str, Any]) -> Reply:
        """Judge one request, and keep it if it is accepted."""
        self.asked += 1
        self.times.append(time.monotonic())
        self.headers.append(headers)
        reply = self.behave(self.asked)
        if reply.code is Code.OK:
            self.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(raw))
        return reply

    @property
    def scopes(self) -> list[Any]:
        """Every `ScopeSpans` that was accepted."""
        return [scope for one in self.requests for spans in one.resource_spans for scope in spans.scope_spans]

    @property
    def spans(self) -> list[Any]:
        """Every span that was accepted."""
        return [span for scope in self.scopes for span in scope.spans]

    @property
    def sizes(self) -> list[int]:
        """Spans in each accepted request."""
        return [
            sum(len(scope.spans) for spans in one.resource_spans for scope in spans.scope_spans)
            for one in self.requests
        ]

    def collector(self, **options: Any) -> Collector:
        """It, as an exporter is told about it."""
        return Collector(self.endpoint, self.protocol, **options)  # type: ignore[arg-type] # one of PROTOCOLS

    def transport(self, **options: Any) -> Any:
        """The way to it."""
        return transport_to(self.collector(**options))


def _answer(reply: Reply) -> Any:
    answer = trace_service_pb2.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = reply.rejected
    return answer


class _Service(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - OTLP's name
        headers = {pair.key: pair.value for pair in context.invocation_metadata()}
        reply = self._receiver.take(request.SerializeToString(), headers)
        if reply.after is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", rich(reply.after)),))
        if reply.code is not Code.OK:
            context.abort(reply.code, "no")
        return _answer(reply)


def rich(after: float) -> bytes:
    """A `google.rpc.Status` with a RetryInfo, encoded."""
    info, packed = error_details_pb2.RetryInfo(), Packed()
    info.retry_delay.FromNanoseconds(round(after * 1e9))
    packed.Pack(info)
    return status_pb2.Status(code=14, details=[packed]).SerializeToString()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()} | {":path": self.path}
            reply = receiver.take(raw, headers)
            body = _answer(reply).SerializeToString()
            self.send_response(HTTP[reply.code])
            if reply.after is not None:
                self.send_header("retry-after", str(int(reply.after)))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def receiving(protocol: str, port: int = 0, tls: Path | None = None) -> Iterator[Receiver]:
    """A receiver on loopback; with the folder *tls* (see `pki`) it wants a client certificate."""
    receiver = Receiver(protocol)
    serve = _grpc if protocol == "grpc" else _http
    with serve(receiver, port, tls) as bound:
        receiver.endpoint = f"{'https' if tls else 'http'}://localhost:{bound}"
        yield receiver


@contextmanager
def _grpc(receiver: Receiver, port: int, tls: Path | None) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Service(receiver), server)  # type: ignore[no-untyped-call] # generated
    address = f"localhost:{port}"
    if tls:
        own = (tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes()
        ca = (tls / "ca.pem").read_bytes()
        credentials = grpc.ssl_server_credentials([own], ca, require_client_auth=True)
        bound = server.add_secure_port(address, credentials)
    else:
        bound = server.add_insecure_port(address)
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@contextmanager
def _http(receiver: Receiver, port: int, tls: Path | None) -> Iterator[int]:
    server = ThreadingHTTPServer(("localhost", port), _handler(receiver))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients may leave as they like
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.pem", tls / "server.key")
        context.load_verify_locations(tls / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pki(folder: Path) -> Path:
    """Files of an authority, a server, and a client."""
    pairs = {"server": certificates.server(), "client": certificates.leaf(certificates.uri("spiffe://a/b"))}
    (folder / "ca.pem").write_bytes(certificates.authority().pem)
    for name, pair in pairs.items():
        (folder / f"{name}.pem").write_bytes(pair.pem)
        (folder / f"{name}.key").write_bytes(pair.key)
    return folder


def span(number: int) -> bytes:
    """A span of ours whose id is *number* + 1."""
    call = Call("/s/m", (), True, 1, 1, ended_ns=2, status=Code.OK, trace_id=number + 1, span_id=number + 1)
    return Spans(print).write(call)


def send(exporter: Any, count: int, start: int = 0) -> None:
    """Hand *count* spans to *exporter*, one by one."""
    for number in range(start, start + count):
        exporter.export(span(number), 1)


def until(done: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.002)
    assert done()


def balanced(counts: Any) -> bool:
    """Whether every span is somewhere."""
    return bool(
        counts.given + counts.found
        == counts.sent + sum(counts.lost.values()) + counts.queued + counts.spooled
    )
