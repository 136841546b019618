"""OTLP/HTTP, over real connections to a free port."""

import gzip
import http.client
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from guardhouse.server.traces import receiver_http
from guardhouse.server.traces.listen import ListenError
from guardhouse.server.traces.receiver import MAX_MESSAGE, receiving
from guardhouse.server.traces.receiver_http import receiving_http
from guardhouse.server.traces.store import Store

ANY_PORT = "127.0.0.1:0"
CUT = gzip.compress(b"canary", mtime=0)[:-9]
PROTOBUF = {"Content-Type": "application/x-protobuf"}

Answer = tuple[int, bytes]
Post = Callable[..., Answer]


def post_to(
    address: str, body: bytes, path: str = "/v1/traces", headers: Mapping[str, str] = PROTOBUF
) -> Answer:
    """Status and body of the answer to one POST."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def post(store: Store) -> Iterator[Post]:
    """Send to a receiver that fills *store* and has nothing to complain of."""
    with receiving_http(store, ANY_PORT, pytest.fail) as address:
        yield lambda *how, **more: post_to(address, *how, **more)


def said(answer: Answer) -> tuple[int, str]:
    """Status and words of a refusal, which OTLP wants as a `google.rpc.Status`."""
    return answer[0], Status.FromString(answer[1]).message


def test_spans_are_stored_before_the_answer(post: Post, store: Store, otlp: Any) -> None:
    """When the answer is there, the spans are in the file; success is an empty message."""
    assert post(otlp.request(otlp.span(1), otlp.span(2)).SerializeToString()) == (200, b"")
    assert store.count_spans() == 2


def test_gzip_is_understood(post: Post, store: Store, otlp: Any) -> None:
    """Exporters may compress."""
    body = gzip.compress(otlp.request(otlp.span(1)).SerializeToString())
    assert post(body, headers={**PROTOBUF, "Content-Encoding": "gzip"}) == (200, b"")
    assert store.count_spans() == 1


def test_malformed_spans_are_rejected_and_counted(post: Post, store: Store, otlp: Any) -> None:
    """As over gRPC: the answer says how many spans were not taken, and why."""
    status, body = post(otlp.request(otlp.span(1), otlp.span(2, trace_id=b"x")).SerializeToString())
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 1)
    assert "trace id is not 16 bytes" in partial.error_message
    assert store.count_spans() == 1


@pytest.mark.parametrize(
    ("body", "how", "status", "words"),
    [
        (b"\xff canary", {}, 400, "not an ExportTraceServiceRequest"),
        (b"", {"path": "/v1/logs"}, 404, "traces are received at /v1/traces"),
        (b"{}", {"headers": {"Content-Type": "application/json"}}, 415, "x-protobuf"),
        (b"", {"headers": {}}, 415, "x-protobuf"),
        (b"", {"headers": {**PROTOBUF, "Host": "evil.example:4318"}}, 403, "loopback"),
        (b"", {"headers": {**PROTOBUF, "Host": "192.0.2.1:4318"}}, 403, "loopback"),
        (b"x", {"headers": {**PROTOBUF, "Content-Encoding": "br"}}, 415, "not gzip"),
        (b"canary", {"headers": {**PROTOBUF, "Content-Encoding": "gzip"}}, 400, "not gzip"),
        (
            CUT,
            {"headers": {**PROTOBUF, "Content-Encoding": "gzip"}},
            400,
            "cut off",
        ),
        (b"", {"headers": {**PROTOBUF, "Content-Length": "-1"}}, 411, "no Content-Length"),
        (b"", {"headers": {**PROTOBUF, "Content-Length": str(MAX_MESSAGE + 1)}}, 413, "over 16777216 bytes"),
        (b"", {"headers": {**PROTOBUF, "Content-Length": "9" * 5000}}, 413, "over 16777216 bytes"),
    ],
)
def test_what_is_not_otlp_is_refused(
    post: Post, store: Store, otlp: Any, body: bytes, how: Any, status: int, words: str
) -> None:
    """Anything else has its own status and fixed words, and the receiver goes on."""
    answer = said(post(body, **how))
    assert answer[0] == status
    assert words in answer[1]
    assert "canary" not in answer[1]
    assert post(otlp.request(otlp.span(1)).SerializeToString()) == (200, b"")
    assert store.count_spans() == 1


def test_a_small_body_cannot_become_a_large_one(post: Post, store: Store) -> None:
    """Compression does not lift the bound of 16 MiB."""
    body = gzip.compress(bytes(MAX_MESSAGE + 1))
    assert len(body) < 20_000
    assert said(post(body, headers={**PROTOBUF, "Content-Encoding": "gzip"}))[0] == 413
    assert store.count_spans() == 0


def test_a_body_that_stays_short_is_not_stored(store: Store, otlp: Any) -> None:
    """A sender that dies in the middle leaves nothing behind, and stops nobody else."""
    body = otlp.request(otlp.span(1)).SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: {PROTOBUF['Content-Type']}\r\n"
    with receiving_http(store, ANY_PORT, pytest.fail) as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as sender:
            sender.sendall(f"{head}Content-Length: {len(body) + 9}\r\n\r\n".encode() + body)
            sender.shutdown(socket.SHUT_WR)
            assert sender.makefile("rb").readline().split()[1] == b"400"
        assert post_to(address, body) == (200, b"")
    assert store.count_spans() == 1


def test_a_sender_that_drips_is_cut_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then holds a connection only so long, and never the receiver's end."""
    monkeypatch.setattr(receiver_http, "LIFETIME", 0.2)
    with receiving_http(store, ANY_PORT, pytest.fail) as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=0.01) as sender:
            sender.sendall(b"POST /v1/traces HTTP/1.1\r\nDrip: ")
            with suppress(ConnectionError):
                while not closed(sender):
                    sender.sendall(b"x")
    assert store.count_spans() == 0


def closed(connection: socket.socket) -> bool:
    """Whether the other side has ended *connection*."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def test_other_verbs_are_not_served(store: Store) -> None:
    """There is nothing to read here, and no leave for web pages."""
    with receiving_http(store, ANY_PORT, pytest.fail) as address:
        for verb in ("GET", "OPTIONS", "PUT"):
            connection = http.client.HTTPConnection(address, timeout=30)
            connection.request(verb, "/v1/traces")
            answer = connection.getresponse()
            assert answer.status == 501
            assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
            connection.close()


def test_a_store_that_fails_asks_for_a_retry(store: Store, tmp_path: Path, otlp: Any) -> None:
    """Spans that could not be written are answered 503, which OTLP retries, and the reason is said here."""
    complaints: list[str] = []
    with sqlite3.connect(tmp_path / "traces.db") as vandal:
        vandal.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON spans BEGIN SELECT RAISE(ABORT, 'disk canary'); END"
        )
    vandal.close()
    with receiving_http(store, ANY_PORT, complaints.append) as address:
        answer = said(post_to(address, otlp.request(otlp.span(1)).SerializeToString()))
    assert answer == (503, "the store of traces cannot be written now")
    assert complaints == ["1 spans were not stored: disk canary"]


def test_both_receivers_fill_one_store(store: Store, otlp: Any) -> None:
    """Senders by gRPC and by HTTP at once: every span is kept, and kept once."""
    batches = [otlp.request(*(otlp.span(n, trace=t) for n in range(1, 33))) for t in range(1, 17)]
    with (
        receiving(store, ANY_PORT, pytest.fail) as address,
        receiving_http(store, ANY_PORT, pytest.fail) as web,
        otlp.exporter(address) as export,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(export, batches))
        bodies = [batch.SerializeToString() for batch in batches]
        assert list(pool.map(lambda body: post_to(web, body), bodies)) == [(200, b"")] * 16
    assert store.count_spans() == 16 * 32


def test_a_taken_port_is_told_apart(store: Store) -> None:
    """A port in use is one line, as for gRPC."""
    with (
        receiving_http(store, ANY_PORT, pytest.fail) as address,
        pytest.raises(ListenError, match=r"in use.*--listen") as caught,
        receiving_http(store, address, pytest.fail),
    ):
        pass
    assert caught.value.in_use


def test_other_machines_are_kept_out(store: Store) -> None:
    """The receiver itself, not only the command, refuses an address that others can reach."""
    with pytest.raises(ListenError, match="loopback"), receiving_http(store, "0.0.0.0:0", pytest.fail):
        pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_loopback(store: Store, otlp: Any) -> None:
    """[::1] is loopback too."""
    with receiving_http(store, "[::1]:0", pytest.fail) as address:
        assert post_to(address, otlp.request(otlp.span(1)).SerializeToString()) == (200, b"")
