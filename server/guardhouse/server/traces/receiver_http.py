"""OTLP/HTTP with protobuf on a loopback port, beside OTLP/gRPC: the same answers for the same requests.

After "OTLP/HTTP" in the OTLP specification. JSON is not understood.
"""

import errno
import socket
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from guardhouse.server.traces.listen import ListenError, busy, join, parse_listen
from guardhouse.server.traces.receiver import CANNOT_WRITE, GRACE, MAX_MESSAGE, NOT_OTLP, accept
from guardhouse.server.traces.store import Store

PATH = "/v1/traces"
PROTOBUF = "application/x-protobuf"
LIFETIME = 10.0  # seconds for a whole request: else one that drips would hold up the end
GZIP = 16 + zlib.MAX_WBITS  # zlib's word for gzip's header and trailer

Accept = Callable[[bytes], bytes]


class RefusedError(Exception):
    """The answer to a request that is not taken."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


@contextmanager
def receiving_http(store: Store, listen: str, complain: Callable[[str], None]) -> Iterator[str]:
    """Receive spans into *store* at *listen*; yields the address, with the port that was really taken.

    As `receiver.receiving`, with which it may share a store. Raises `ListenError`.
    """
    host, port = parse_listen(listen)
    try:
        server = _Server((host, port), _handler(lambda body: _accept(body, store, complain)))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise busy(port) from error
        raise ListenError(f"cannot listen on {join(host, port)}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="otlp-http")
    thread.start()
    try:
        yield join(host, server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()  # waits for the requests that are being answered


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that went away is not worth a traceback in the middle of the waterfalls."""


def _accept(body: bytes, store: Store, complain: Callable[[str], None]) -> bytes:
    try:
        return accept(body, store, complain).SerializeToString()
    except DecodeError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, NOT_OTLP) from None
    except sqlite3.Error:
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, CANNOT_WRITE) from None  # which asks for a retry


def _handler(take: Accept) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = GRACE  # seconds that a connection may say nothing; each has one request

        def handle(self) -> None:
            cut = threading.Timer(LIFETIME, _hang_up, (self.connection,))
            cut.start()
            try:
                super().handle()
            finally:
                cut.cancel()

        def do_POST(self) -> None:
            try:
                status, body = HTTPStatus.OK, take(_read(self))
            except RefusedError as refused:
                status, body = refused.status, Status(message=str(refused)).SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", PROTOBUF)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            return "guardhouse"

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal shows traces."""

    return Handler


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _read(request: BaseHTTPRequestHandler) -> bytes:
    """The body of *request*, unpacked. Raises `RefusedError`."""
    if request.path != PATH:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"traces are received at {PATH}")
    # A web page may send to this machine, but not this type, unless it first asks for leave (CORS), nor
    # under our name (DNS rebinding).
    if request.headers.get_content_type() != PROTOBUF:
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type is not {PROTOBUF}")
    try:
        parse_listen(request.headers.get("Host", ""))
    except ListenError:
        raise RefusedError(HTTPStatus.FORBIDDEN, "the host is not this machine's loopback address") from None
    return _unpack(_body(request), request.headers.get("Content-Encoding", "identity"))


def _body(request: BaseHTTPRequestHandler) -> bytes:
    length = request.headers.get("Content-Length", "")
    if not length.isascii() or not length.isdigit():
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length")
    if len(length) > 9 or int(length) > MAX_MESSAGE:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {MAX_MESSAGE} bytes")
    body = request.rfile.read(int(length))
    if len(body) < int(length):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
    return body


def _unpack(body: bytes, encoding: str) -> bytes:
    """*body* without its compression, which may not blow it up beyond the bound of any request."""
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content encoding is not gzip")
    unpacker = zlib.decompressobj(GZIP)
    try:
        unpacked = unpacker.decompress(body, MAX_MESSAGE + 1)
    except zlib.error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not gzip") from None
    if len(unpacked) > MAX_MESSAGE:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {MAX_MESSAGE} bytes when unpacked")
    if not unpacker.eof:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is cut off")
    return unpacked
