"""Fetching one document: limits of time that no slow server can stretch, and addresses that are refused."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from guardhouse.interceptors.tokens.fetch import FetchError, check_address, fetch
from guardhouse.interceptors.tokens.jwks import Source

from .issuers import (
    ALGORITHMS,
    Witness,
    witness,
)


@pytest.fixture
def server() -> Iterator[Witness]:
    with witness() as found:
        yield found


def drip(handler: BaseHTTPRequestHandler) -> None:
    """One byte of the body now and then, for as long as anybody listens."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.01)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    """The same, before the headers are complete."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.01)


@pytest.mark.parametrize("answer", [drip, drip_headers])
def test_a_slow_drip_is_cut_off(server: Witness, answer: object) -> None:
    """The time limit is for the whole answer, not for each byte of it."""
    server.answer = answer  # type: ignore[assignment] # one of the two above
    with pytest.raises(FetchError, match=r"no whole answer within 0\.2 s"):
        fetch(server.url, most=2**20, seconds=0.2)


def test_a_server_that_never_answers_is_given_up() -> None:
    """A connection that is taken and left alone ends at the time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(FetchError):
            fetch(address, most=100, seconds=0.2)


def test_a_handshake_that_never_ends_is_given_up() -> None:
    """The limit holds for TLS too, where a byte now and then keeps the socket's own timeout from passing."""

    def shake(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB
            while True:
                connection.sendall(b"\x00")
                time.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as slow:
        thread = threading.Thread(target=shake, args=(slow,))
        thread.start()
        with pytest.raises(FetchError, match="TimeoutError"):
            fetch(f"https://127.0.0.1:{slow.getsockname()[1]}/", most=100, seconds=0.3)
        thread.join()


def test_nobody_there_is_a_plain_failure() -> None:
    """A refused connection says so and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(FetchError, match="ConnectionRefusedError"):
        fetch(f"http://127.0.0.1:{port}/", most=100, seconds=1)


@pytest.mark.parametrize(
    "address",
    [
        "http://issuer.example/jwks.json",
        "http://10.0.0.1/",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "file:///etc/passwd",
        "ftp://issuer.example/",
        "data://,{}",
        "https://",
        "https:///path",
        "https://user:password@issuer.example/",
        "https://issuer.example/#fragment",
        "https://issuer.example:port/",
        "https://issuer.example:99999/",
        "https://issuer.example/a b",
        "https://issuer.example/\r\nx: y",
    ],
)
def test_other_addresses_are_refused_at_once(address: str) -> None:
    """Only https, or http on this machine, and nothing strange about it: refused when configured."""
    with pytest.raises(ValueError, match=r".+"):
        Source(address, ALGORITHMS)


@pytest.mark.parametrize(
    "address", ["https://issuer.example/x?y=1", "http://[::1]:1/", "http://localhost:1/"]
)
def test_proper_addresses(address: str) -> None:
    """https anywhere and http on loopback pass."""
    assert check_address(address).hostname
