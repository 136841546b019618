"""The listener of metrics: one page, to GET and HEAD; and it cannot be held, flooded or fed."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from guardhouse.server import metrics_listener
from guardhouse.server.metrics_listener import FRESH, LONGEST, MOST, answer, kept, listening

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A listener whose page is `up 1`."""
    with listening("127.0.0.1:0", lambda: "up 1\n") as where:
        host, _, port = where.rpartition(":")
        yield host, int(port)


def exchanged(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes back for *request*, until the listener closes."""
    with socket.create_connection(address, 20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def reached(address: tuple[str, int]) -> bool:
    """Whether somebody who asks now gets an answer."""
    with suppress(ConnectionError):
        return exchanged(address, b"HEAD / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404")
    return False


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"200"),
        (b"GET /metrics?name=up HTTP/1.0", b"200"),
        (b"HEAD /metrics HTTP/1.1", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/ HTTP/1.1", b"404"),
        (b"GET /../metrics HTTP/1.1", b"404"),
        (b"GET http://h/metrics HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"DELETE /metrics HTTP/1.1", b"405"),
        (b"get /metrics HTTP/1.1", b"405"),
        (b"PRI * HTTP/2.0", b"400"),
        (b"GET /metrics", b"400"),
        (b"", b"400"),
        (b"\x16\x03\x01\x02", b"400"),
    ],
)
def test_one_page_and_nothing_else(request_line: bytes, status: bytes) -> None:
    """GET and HEAD of /metrics; other paths are 404, other methods 405, what is no HTTP/1 is 400."""
    assert answer(request_line + b"\r\nHost: x\r\n\r\n", lambda: "up 1\n").split(b" ")[1] == status


def test_the_page_is_told_by_its_type(address: tuple[str, int]) -> None:
    """The body is the page; the headers are those of the text format, and end the connection."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("GET", "/metrics")
    given = connection.getresponse()

    assert (given.status, given.read()) == (200, b"up 1\n")
    assert given.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert given.headers["Connection"] == "close"


def test_head_has_no_body(address: tuple[str, int]) -> None:
    """The length is that of the page, which does not follow."""
    given = exchanged(address, GET.replace(b"GET", b"HEAD"))

    assert b"Content-Length: 5\r\n" in given
    assert given.endswith(b"\r\n\r\n")


def test_a_long_request_is_not_kept(address: tuple[str, int]) -> None:
    """Who sends more than a request needs is disconnected, and gets no page."""
    with socket.create_connection(address, 20) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (4 * LONGEST))
        assert connection.recv(100) == b""


@pytest.mark.parametrize("request_sent", [b"", b"GET /metrics HTTP/1.1\r\nX: ", GET])
def test_who_stays_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, request_sent: bytes) -> None:
    """As many as may ask at once say nothing, too little, or do not read: their time runs out."""
    monkeypatch.setattr(metrics_listener, "PATIENCE", 0.5)
    with listening("127.0.0.1:0", lambda: "x" * (8 << 20)) as where, ExitStack() as stack:
        host, _, port = where.rpartition(":")
        for _ in range(MOST):
            slow = stack.enter_context(socket.create_connection((host, int(port)), 20))
            slow.sendall(request_sent)
        answers = [reached((host, int(port)))]
        while not answers[-1] and len(answers) < 200:
            time.sleep(0.05)
            answers.append(reached((host, int(port))))

    assert (answers[0], answers[-1]) == (False, True)


def test_a_page_is_made_once_a_second() -> None:
    """Whoever asks ten thousand times a second has one page made, on the clock that is given."""
    now, made = [0.0], []

    def page() -> str:
        made.append(now[0])
        return str(len(made))

    fresh = kept(page, lambda: now[0])
    told = []
    for at in (0.0, 0.1, FRESH - 0.01, FRESH, FRESH + 0.5, 2 * FRESH):
        now[0] = at
        told.append(fresh())

    assert told == ["1", "1", "1", "2", "2", "3"]


def test_a_page_that_cannot_be_made_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Fixed words to who asks; the log has the rest."""

    def page() -> str:
        raise RuntimeError("canary")

    with listening("127.0.0.1:0", page) as where:
        host, _, port = where.rpartition(":")
        given = exchanged((host, int(port)), GET)

    assert given.startswith(b"HTTP/1.1 500")
    assert b"canary" not in given
    assert "canary" in caplog.text


def test_leaving_closes_it(address: tuple[str, int]) -> None:
    """A listener that was left accepts nobody, and does not wait for who is still there."""
    with listening("127.0.0.1:0", lambda: "") as where:
        host, _, port = where.rpartition(":")
        silent = socket.create_connection((host, int(port)), 20)
    with pytest.raises(ConnectionError):
        exchanged((host, int(port)), GET)
    silent.close()


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_hosts_may_be_names_and_ipv6(host: str) -> None:
    """The address lent is the one asked for, with the port."""
    with listening(f"{host}:0", lambda: "up 1\n") as where:
        name, _, port = where.rpartition(":")
        given = exchanged((name.strip("[]"), int(port)), GET)

    assert (name, given.endswith(b"up 1\n")) == (host, True)


def test_an_address_in_use_is_an_error(address: tuple[str, int]) -> None:
    """Nobody shares a port by chance."""
    with pytest.raises(OSError, match="in use"), listening(f"{address[0]}:{address[1]}", lambda: ""):
        pass
