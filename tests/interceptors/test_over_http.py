"""OTLP over HTTP against servers that answer as no collector should: redirects, floods, drips, silence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest

from guardhouse.interceptors import Collector
from guardhouse.interceptors.record.export.answers import Answer, Later, Never, Taken
from guardhouse.interceptors.record.export.over_http import MOST_ANSWER
from guardhouse.interceptors.record.exporting import transport_to

REQUEST = b"\n\x00"  # one empty ResourceSpans


@pytest.fixture
def raw() -> Iterator[Any]:
    """A maker of servers that answer one request with the pieces given, and count the requests."""
    made: list[socket.socket] = []

    def serve(*pieces: bytes, then: Iterable[bytes] = ()) -> tuple[str, list[bytes]]:
        server = socket.create_server(("127.0.0.1", 0))
        made.append(server)
        seen: list[bytes] = []

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(65536))
                    with suppress(ConnectionResetError, BrokenPipeError):
                        for piece in chain(pieces, then):
                            connection.sendall(piece)
                        while connection.recv(65536):
                            pass

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}", seen

    yield serve
    for server in made:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_no_redirect_is_followed(raw: Any) -> None:
    """A collector cannot send spans, and the headers with them, somewhere else."""
    other, theirs = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    head = f"HTTP/1.1 307 Temporary\r\nlocation: {other}/v1/traces\r\ncontent-length: 0\r\n\r\n"
    endpoint, ours = raw(head.encode())
    transport = transport_to(Collector(endpoint, "http/protobuf"))

    assert transport.send(REQUEST, 5) == Never("HTTP 307")
    assert (len(ours), len(theirs)) == (1, 0)
    transport.close()


def test_an_answer_is_bounded(raw: Any) -> None:
    """An answer without an end costs a megabyte and no more; it is an answer none the less."""
    sent: list[int] = []

    def megabytes() -> Iterator[bytes]:
        for number in range(64):
            sent.append(number)
            yield bytes(2**20)

    endpoint, _ = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", then=megabytes())
    transport = transport_to(Collector(endpoint, "http/protobuf"))

    assert transport.send(REQUEST, 5) == Taken(0)
    assert len(sent) < 32  # the rest is what the sockets hold
    assert MOST_ANSWER == 2**20
    transport.close()


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        (b"", Later("RemoteDisconnected")),
        (b"HTTP/1.1 200 OK\r\nx: ", Taken(0)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Taken(0)),
        (b"HTTP/1.1 503 Busy\r\nx: ", Later("HTTP 503")),
    ],
)
def test_an_answer_that_does_not_end(raw: Any, answer: bytes, means: Answer) -> None:
    """The time for a request is the time for all of it; what counts is how far the answer came."""
    endpoint, seen = raw(answer)
    transport = transport_to(Collector(endpoint, "http/protobuf"))

    assert transport.send(REQUEST, 0.2) in (means, Later("TimeoutError"))
    assert transport.send(REQUEST, 0.2) in (means, Later("TimeoutError"))
    assert len(seen) == 2
    transport.close()
    assert transport.send(REQUEST, 0.2) == Later("OSError")


def test_an_answer_that_drips(raw: Any) -> None:
    """A byte now and then keeps every single read in time, but not the request."""
    over = threading.Event()

    def drops() -> Iterator[bytes]:
        while not over.wait(0.02):
            yield b"x"

    endpoint, _ = raw(b"HTTP/1.1 200 OK\r\nx: ", then=drops())
    transport = transport_to(Collector(endpoint, "http/protobuf"))

    assert transport.send(REQUEST, 0.3) == Taken(0)  # as the first line of the answer says
    over.set()
    transport.close()


def test_an_answer_that_is_not_http(raw: Any) -> None:
    """It is as if nobody had been there."""
    endpoint, _ = raw(b"SSH-2.0-x\r\n")
    transport = transport_to(Collector(endpoint, "http/protobuf"))

    assert isinstance(transport.send(REQUEST, 5), Later)
    transport.close()
