"""The receiver, over real gRPC on a free port."""

import gc
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from guardhouse.server.traces.listen import ListenError
from guardhouse.server.traces.receiver import MAX_MESSAGE, receiving
from guardhouse.server.traces.store import Store

ANY_PORT = "127.0.0.1:0"


def test_spans_are_stored_before_the_answer(store: Store, otlp: Any) -> None:
    """When Export returns, its spans are in the file for anyone to read; success is an empty answer."""
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        answer = export(otlp.request(*(otlp.span(number) for number in range(1, 301))))
        assert not answer.HasField("partial_success")
        assert store.count_spans() == 300


def test_a_retried_batch_is_not_counted_twice(store: Store, otlp: Any) -> None:
    """A sender that lost our answer may send the batch again."""
    batch = otlp.request(otlp.span(1), otlp.span(2))
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        for _ in range(3):
            assert not export(batch).HasField("partial_success")
    assert store.count_spans() == 2


def test_malformed_spans_are_rejected_and_counted(store: Store, otlp: Any) -> None:
    """The answer says how many spans were not taken, and why; the others are stored."""
    batch = otlp.request(
        otlp.span(1), otlp.span(2, trace_id=b"short"), otlp.span(3, span_id=b"longer than 8")
    )
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        partial = export(batch).partial_success
    assert partial.rejected_spans == 2
    assert "trace id is not 16 bytes" in partial.error_message
    assert "span id is not 8 bytes" in partial.error_message
    assert store.count_spans() == 1


def test_an_empty_request_is_fine(store: Store, otlp: Any) -> None:
    """OTLP: a request without spans is answered with success."""
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        assert not export(b"").HasField("partial_success")


def test_gzip_is_understood(store: Store, otlp: Any) -> None:
    """Exporters may compress."""
    batch = otlp.request(*(otlp.span(number) for number in range(1, 200)))
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        export(batch, compression=grpc.Compression.Gzip)
    assert store.count_spans() == 199


def test_what_is_not_otlp_is_an_invalid_argument(store: Store, otlp: Any) -> None:
    """Bytes that are no request are refused in fixed words, and the receiver goes on."""
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(b"\xff\xff\xff canary")
        export(otlp.request(otlp.span(1)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "not an ExportTraceServiceRequest"
    assert store.count_spans() == 1


def test_a_message_over_the_limit_is_refused(store: Store, otlp: Any) -> None:
    """16 MiB is enough for any batch; more is refused, and the receiver goes on. Just below it is taken."""
    big = otlp.request(otlp.span(1, name="x" * MAX_MESSAGE))
    with receiving(store, ANY_PORT, pytest.fail) as address, otlp.exporter(address) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(big)
        export(otlp.request(otlp.span(1, name="x" * (MAX_MESSAGE - 1000))))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert store.count_spans() == 1


def test_only_export_is_served(store: Store) -> None:
    """Any other method does not exist."""
    with receiving(store, ANY_PORT, pytest.fail) as address, grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_store_that_fails_asks_for_a_retry(store: Store, tmp_path: Path, otlp: Any) -> None:
    """Spans that could not be written are answered UNAVAILABLE, the reason is said here, and none is kept."""
    said: list[str] = []
    with sqlite3.connect(tmp_path / "traces.db") as vandal:
        vandal.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON spans BEGIN SELECT RAISE(ABORT, 'disk canary'); END"
        )
    with receiving(store, ANY_PORT, said.append) as address, otlp.exporter(address) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(otlp.request(otlp.span(1), otlp.span(2)))
        vandal.execute("DROP TRIGGER stop")
        vandal.close()
        assert store.count_spans() == 0
        export(otlp.request(otlp.span(1), otlp.span(2)))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "canary" not in str(caught.value.details())
    assert said == ["2 spans were not stored: disk canary"]
    assert store.count_spans() == 2


def test_many_senders_at_once(store: Store, otlp: Any) -> None:
    """Batches that arrive together are all stored, each span once."""
    batches = [otlp.request(*(otlp.span(n, trace=t) for n in range(1, 65))) for t in range(1, 33)]
    with (
        receiving(store, ANY_PORT, pytest.fail) as address,
        otlp.exporter(address) as export,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(export, batches + batches))
    assert store.count_spans() == 32 * 64


def test_a_second_receiver_cannot_share_the_port(store: Store) -> None:
    """Two receivers on one port would each get half of the spans: the second is told, in one line."""
    with (
        receiving(store, ANY_PORT, pytest.fail) as address,
        pytest.raises(ListenError, match=r"in use.*--listen") as caught,
        receiving(store, address, pytest.fail),
    ):
        pass
    assert caught.value.in_use


def test_the_port_is_free_afterwards(store: Store) -> None:
    """A receiver that ended can be started again at once, at the same address."""
    with receiving(store, ANY_PORT, pytest.fail) as address:
        pass
    with receiving(store, address, pytest.fail) as again:
        assert again == address
    gc.collect()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_loopback(store: Store, otlp: Any) -> None:
    """[::1] is loopback too, and what is yielded can be dialled as it stands."""
    with receiving(store, "[::1]:0", pytest.fail) as address, otlp.exporter(address) as export:
        assert address.startswith("[::1]:")
        export(otlp.request(otlp.span(1)))
    assert store.count_spans() == 1


def test_other_machines_are_kept_out(store: Store) -> None:
    """The receiver itself, not only the command, refuses an address that others can reach."""
    with pytest.raises(ListenError, match="loopback"), receiving(store, "0.0.0.0:0", pytest.fail):
        pass
