"""Spans to a collector: a real OTLP receiver in this process, as kind or unkind as a test wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Code
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from guardhouse.interceptors import Call
from guardhouse.interceptors.record.export import Exporter
from guardhouse.interceptors.record.spans import SCHEMA_URL, Spans

Response = trace_service_pb2.ExportTraceServiceResponse
RESOURCE = Resource()
RESOURCE.attributes.add(key="service.name").value.string_value = "guardhouse"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it accepts; `behave` decides what it does with the nth request."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.asked = 0
        self.behave: Callable[[int, Any], Any] = lambda number, context: Response()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - OTLP's name
        self.asked += 1
        answer = self.behave(self.asked, context)
        self.requests.append(request)
        return answer

    @property
    def sizes(self) -> list[int]:
        return [len(request.resource_spans[0].scope_spans[0].spans) for request in self.requests]

    @property
    def names(self) -> set[bytes]:
        spans = (span for one in self.requests for span in one.resource_spans[0].scope_spans[0].spans)
        return {span.span_id for span in spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector; its address is in `target`."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    serves = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(serves, server)  # type: ignore[no-untyped-call] # generated
    serves.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined] # for tests
    server.start()
    yield serves
    server.stop(None).wait()


def _exporter(collector: Any, **options: Any) -> Exporter:
    options.setdefault("delay", 0.02)
    return Exporter(collector.target, RESOURCE.SerializeToString(), **options)


def _span(number: int) -> bytes:
    call = Call("/s/m", (), True, 1, 1, ended_ns=2, status=Code.OK, trace_id=number + 1, span_id=number + 1)
    return Spans(print).write(call)


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.002)
    assert done()


def _send(exporter: Exporter, count: int) -> None:
    for number in range(count):
        exporter.export(_span(number), 1)


def _accounted(exporter: Exporter) -> int:
    return exporter.sent + exporter.lost


def test_what_arrives(collector: Collector) -> None:
    """Spans in full batches, each request with resource, scope and schema in place; none lost, none twice."""
    exporter = _exporter(collector, batch=100, delay=60)
    _send(exporter, 1000)
    _until(lambda: exporter.sent == 1000)
    exporter.close()
    one = collector.requests[0].resource_spans[0]

    assert collector.sizes == [100] * 10
    assert len(collector.names) == 1000
    assert one.resource == RESOURCE
    assert one.scope_spans[0].scope.name == "guardhouse"
    assert (one.schema_url, one.scope_spans[0].schema_url) == (SCHEMA_URL, SCHEMA_URL)
    assert (exporter.sent, exporter.lost, exporter.queued) == (1000, 0, 0)


def test_a_batch_that_does_not_fill_goes_after_a_while(collector: Collector) -> None:
    """A few spans do not wait for others for ever."""
    exporter = _exporter(collector)
    _send(exporter, 3)
    _until(lambda: exporter.sent == 3)
    exporter.close()

    assert sum(collector.sizes) == 3


def test_close_sends_what_is_queued(collector: Collector) -> None:
    """The last spans before the end are not the lost ones; what comes after the end is, and is counted."""
    exporter = _exporter(collector, batch=50, delay=60)
    _send(exporter, 120)
    exporter.close()
    exporter.close()
    exporter.export(_span(0), 1)

    assert sum(collector.sizes) == 120
    assert (exporter.sent, exporter.lost, exporter.queued) == (120, 1, 0)


def test_a_collector_that_is_away_for_a_moment(collector: Collector) -> None:
    """UNAVAILABLE is tried again until it is taken: nothing is lost."""

    def twice_away(number: int, context: Any) -> Any:
        if number <= 2:
            context.abort(Code.UNAVAILABLE, "starting")
        return Response()

    collector.behave = twice_away
    exporter = _exporter(collector)
    _send(exporter, 10)
    _until(lambda: exporter.sent == 10)
    exporter.close()

    assert (collector.asked >= 3, exporter.lost) == (True, 0)
    assert sum(collector.sizes) == 10


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED])
def test_a_collector_that_will_not_have_it(collector: Collector, code: Code) -> None:
    """What OTLP says must not be tried again is not, is counted, and does not hold up the next batch."""

    def first_refused(number: int, context: Any) -> Any:
        if number == 1:
            context.abort(code, "no")
        return Response()

    collector.behave = first_refused
    exporter = _exporter(collector, batch=5, delay=60)
    _send(exporter, 10)
    _until(lambda: _accounted(exporter) == 10)
    exporter.close()

    assert (exporter.sent, exporter.lost, collector.asked) == (5, 5, 2)


@pytest.mark.parametrize(("rejected", "lost"), [(3, 3), (0, 0), (10**6, 10), (-5, 0)])
def test_a_partial_success(collector: Collector, rejected: int, lost: int) -> None:
    """Spans that a collector took in and threw away are counted as lost, and never more than were sent."""
    answer = Response()
    answer.partial_success.rejected_spans = rejected
    collector.behave = lambda number, context: answer
    exporter = _exporter(collector, batch=10, delay=60)
    _send(exporter, 10)
    _until(lambda: _accounted(exporter) == 10)
    exporter.close()

    assert (exporter.sent, exporter.lost) == (10 - lost, lost)


def test_an_answer_that_is_no_message() -> None:
    """A collector that answers junk does not end the thread that sends."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    junk: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\xff\xff\xff")
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": junk}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    exporter = Exporter(f"127.0.0.1:{port}", b"", batch=1, delay=0.01)
    _send(exporter, 3)
    _until(lambda: exporter.sent == 3)
    exporter.close()
    server.stop(None).wait()

    assert exporter.lost == 0


def test_a_full_queue_counts(collector: Collector) -> None:
    """While the collector is away the queue fills to its bound; then the newest are lost, and counted."""
    away = threading.Event()

    def hangs(number: int, context: Any) -> Any:
        away.wait(20)
        return Response()

    collector.behave = hangs
    exporter = _exporter(collector, queue=20, batch=5)
    _send(exporter, 5)
    _until(lambda: collector.asked == 1)
    _send(exporter, 100)

    assert (exporter.queued, exporter.lost) == (20, 80)
    away.set()
    _until(lambda: exporter.sent == 25)
    exporter.close()
    assert _accounted(exporter) == 105


def test_close_does_not_wait_for_a_collector_that_never_comes() -> None:
    """Without a collector everything is lost within the grace, and every span of it is counted."""
    exporter = Exporter("127.0.0.1:1", b"", batch=10, delay=0.01)
    _send(exporter, 95)
    exporter.close(grace=0.3)

    assert not exporter._thread.is_alive()
    assert (exporter.sent, exporter.lost, exporter.queued) == (0, 95, 0)


def test_close_ends_a_request_that_hangs(collector: Collector) -> None:
    """A collector that takes a request and never answers does not keep us from ending, nor from counting."""
    away = threading.Event()

    def hangs(number: int, context: Any) -> Any:
        away.wait(20)
        return Response()

    collector.behave = hangs
    exporter = _exporter(collector, batch=10)
    _send(exporter, 30)
    _until(lambda: collector.asked == 1)
    exporter.close(grace=0.1)
    away.set()

    assert not exporter._thread.is_alive()
    assert (exporter.sent, exporter.lost) == (0, 30)


def test_many_threads_lose_nothing_uncounted(collector: Collector) -> None:
    """From eight threads at once, with too little room: sent and lost are every span there was."""
    exporter = _exporter(collector, queue=200, batch=64)

    def send() -> None:
        for number in range(1000):
            exporter.export(_span(number), 1)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exporter.close()

    assert _accounted(exporter) == 8000
    assert sum(collector.sizes) == exporter.sent
