"""Spans to a collector: real OTLP receivers in this process, over gRPC and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grpc import StatusCode as Code
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from guardhouse.interceptors.record.export import Counts, Exporter
from guardhouse.interceptors.record.export.queue import BATCH_BYTES
from guardhouse.interceptors.record.spans import SCHEMA_URL

from .collectors import LATER, NEVER, PROTOCOLS, Receiver, Reply, balanced, receiving, send, span, until

RESOURCE = Resource()
RESOURCE.attributes.add(key="service.name").value.string_value = "guardhouse"
Made = Callable[..., Exporter]


@pytest.fixture(params=PROTOCOLS)
def receiver(request: Any) -> Iterator[Receiver]:
    """A receiver of either protocol."""
    with receiving(request.param) as made:
        yield made


@pytest.fixture
def exporter_to(receiver: Receiver) -> Iterator[Made]:
    """A maker of exporters to the receiver; they are closed at the end."""
    made: list[Exporter] = []

    def make(**options: Any) -> Exporter:
        options.setdefault("delay", 0.02)
        made.append(Exporter(receiver.transport(), RESOURCE.SerializeToString(), **options))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close(grace=0.1)


def _all_sent(exporter: Exporter) -> bool:
    return exporter.counts.queued == 0


def test_what_arrives(receiver: Receiver, exporter_to: Made) -> None:
    """Spans in full batches, each request with resource, scope and schema in place; none lost, none twice."""
    exporter = exporter_to(batch=100, delay=60)
    send(exporter, 1000)
    until(lambda: exporter.counts.sent == 1000)
    one = receiver.requests[0].resource_spans[0]

    assert receiver.sizes == [100] * 10
    assert len({each.span_id for each in receiver.spans}) == 1000
    assert one.resource == RESOURCE
    assert one.scope_spans[0].scope.name == "guardhouse"
    assert (one.schema_url, one.scope_spans[0].schema_url) == (SCHEMA_URL, SCHEMA_URL)
    assert exporter.counts == Counts(1000, 0, 1000, {}, 0, 0)


def test_spans_of_another_scope(receiver: Receiver, exporter_to: Made) -> None:
    """They travel with ours, under our resource, each in the scope it came with."""
    theirs = ScopeSpans()
    theirs.scope.name = "model"
    theirs.spans.add(name="embed")
    exporter = exporter_to(batch=3, delay=60)
    exporter.export_scope(theirs.SerializeToString(), 1)
    send(exporter, 2)
    until(lambda: exporter.counts.sent == 3)

    assert [scope.scope.name for scope in receiver.scopes] == ["guardhouse", "model"]
    assert receiver.scopes[1] == theirs
    assert len(receiver.requests[0].resource_spans) == 1


def test_a_batch_that_does_not_fill_goes_after_a_while(receiver: Receiver, exporter_to: Made) -> None:
    """A few spans do not wait for others for ever."""
    exporter = exporter_to()
    send(exporter, 3)
    until(lambda: exporter.counts.sent == 3)

    assert sum(receiver.sizes) == 3


def test_close_sends_what_is_queued(receiver: Receiver, exporter_to: Made) -> None:
    """The last spans before the end are not the lost ones; what comes after the end is, and is counted."""
    exporter = exporter_to(batch=50, delay=60)
    send(exporter, 120)
    exporter.close()
    exporter.close()
    send(exporter, 1)

    assert sum(receiver.sizes) == 120
    assert exporter.counts == Counts(121, 0, 120, {"shutdown": 1}, 0, 0)


def test_a_collector_that_is_away_for_a_moment(receiver: Receiver, exporter_to: Made) -> None:
    """One that says so is tried again until it takes them: nothing is lost."""
    receiver.behave = lambda number: LATER if number <= 2 else Reply()
    exporter = exporter_to()
    send(exporter, 10)
    until(lambda: exporter.counts.sent == 10)

    assert (receiver.asked >= 3, exporter.counts.lost) == (True, {})
    assert sum(receiver.sizes) == 10


def test_a_collector_that_asks_for_a_while(receiver: Receiver, exporter_to: Made) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, or 429 with Retry-After: we come back, and not before that."""
    receiver.behave = lambda number: Reply(Code.RESOURCE_EXHAUSTED, after=1.0) if number == 1 else Reply()
    exporter = exporter_to()
    send(exporter, 1)
    until(lambda: exporter.counts.sent == 1)

    assert receiver.times[1] - receiver.times[0] >= 1.0
    assert exporter.counts.lost == {}


def test_a_collector_that_will_not_have_it(receiver: Receiver, exporter_to: Made) -> None:
    """What OTLP says must not be tried again is not, is counted, and does not hold up the next batch."""
    receiver.behave = lambda number: NEVER if number == 1 else Reply()
    exporter = exporter_to(batch=5, delay=60)
    send(exporter, 10)
    until(lambda: _all_sent(exporter))

    assert exporter.counts == Counts(10, 0, 5, {"refused": 5}, 0, 0)
    assert receiver.asked == 2


@pytest.mark.parametrize(("rejected", "lost"), [(3, 3), (0, 0), (10**6, 10), (-5, 0)])
def test_a_partial_success(receiver: Receiver, exporter_to: Made, rejected: int, lost: int) -> None:
    """Spans that a collector took in and threw away are counted as lost, and never more than were sent."""
    receiver.behave = lambda number: Reply(rejected=rejected)
    exporter = exporter_to(batch=10, delay=60)
    send(exporter, 10)
    until(lambda: _all_sent(exporter))

    assert (exporter.counts.sent, sum(exporter.counts.lost.values())) == (10 - lost, lost)
    assert set(exporter.counts.lost) <= {"rejected"}


@pytest.fixture
def hanging(receiver: Receiver) -> Iterator[threading.Event]:
    """Makes the receiver hang until the event is set."""
    back = threading.Event()

    def hangs(_number: int) -> Reply:
        back.wait(20)
        return Reply()

    receiver.behave = hangs
    yield back
    back.set()


def test_a_full_queue_counts(receiver: Receiver, exporter_to: Made, hanging: threading.Event) -> None:
    """While the collector is slow the queue fills to its bound; then the newest are lost, and counted."""
    exporter = exporter_to(queue=20, batch=5)
    send(exporter, 5)
    until(lambda: receiver.asked == 1)
    send(exporter, 100, start=5)

    assert exporter.counts == Counts(105, 0, 0, {"queue_full": 80}, 25, 0)
    hanging.set()
    until(lambda: exporter.counts.sent == 25)
    assert {int.from_bytes(each.span_id) for each in receiver.spans} == set(range(1, 26))


def test_a_queue_is_bounded_in_bytes(receiver: Receiver, exporter_to: Made, hanging: threading.Event) -> None:
    """Large spans fill it long before there are many of them."""
    exporter = exporter_to(memory=10_000, batch=1)
    send(exporter, 1)
    until(lambda: receiver.asked == 1)
    for _ in range(100):
        exporter.export_scope(bytes(1000), 1)

    assert exporter.counts.queued == 11
    assert exporter.counts.lost == {"queue_full": 90}


def test_a_request_is_bounded_in_bytes(receiver: Receiver, exporter_to: Made) -> None:
    """A collector takes 4 MiB at once: fewer large spans make a batch."""
    theirs = ScopeSpans()
    theirs.spans.add(name="x" * 2**20)
    exporter = exporter_to(batch=100, delay=60)
    for _ in range(6):
        exporter.export_scope(theirs.SerializeToString(), 1)
    exporter.close()

    assert exporter.counts.sent == 6
    assert max(one.ByteSize() for one in receiver.requests) < BATCH_BYTES + 1000
    assert len(receiver.requests) >= 3


def test_close_does_not_wait_for_a_collector_that_never_comes() -> None:
    """Without a collector everything is lost within the grace, and every span of it is counted."""
    for protocol in PROTOCOLS:
        with receiving(protocol) as gone:
            transport = gone.transport()
        exporter = Exporter(transport, b"", batch=10, delay=0.01)
        send(exporter, 95)
        exporter.close(grace=0.3)

        assert exporter.counts == Counts(95, 0, 0, {"shutdown": 95}, 0, 0)
        assert not any(thread.is_alive() for thread in exporter._threads)


def test_close_ends_a_request_that_hangs(
    receiver: Receiver, exporter_to: Made, hanging: threading.Event
) -> None:
    """A collector that takes a request and never answers does not keep us from ending, nor from counting."""
    exporter = exporter_to(batch=10)
    send(exporter, 30)
    until(lambda: receiver.asked == 1)
    exporter.close(grace=0.1)

    assert not any(thread.is_alive() for thread in exporter._threads)
    assert exporter.counts == Counts(30, 0, 0, {"shutdown": 30}, 0, 0)


def test_a_request_has_a_time(receiver: Receiver, exporter_to: Made) -> None:
    """One that is not answered in time is given up and sent again: nothing is lost."""
    back = threading.Event()

    def hangs_once(number: int) -> Reply:
        if number == 1:
            back.wait(20)
        return Reply()

    receiver.behave = hangs_once
    exporter = exporter_to(timeout=0.2)
    send(exporter, 1)
    until(lambda: exporter.counts.sent == 1)
    back.set()

    assert receiver.asked == 2


def test_many_threads_lose_nothing_uncounted(receiver: Receiver, exporter_to: Made) -> None:
    """From eight threads at once, with too little room: at every moment each span is somewhere."""
    exporter = exporter_to(queue=200, batch=64)
    moments: list[Counts] = []
    encoded = span(0)

    def give() -> None:
        for number in range(1000):
            exporter.export(encoded, 1)
            if number % 10 == 0:
                moments.append(exporter.counts)

    threads = [threading.Thread(target=give) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exporter.close()

    assert all(balanced(counts) for counts in moments)
    assert exporter.counts.given == 8000 == exporter.counts.sent + sum(exporter.counts.lost.values())
    assert sum(receiver.sizes) == exporter.counts.sent


def test_a_span_that_never_was_is_counted(exporter_to: Made) -> None:
    """What could not even be handed over is lost like any other."""
    exporter = exporter_to()
    exporter.lose(2, "unencodable")

    assert exporter.counts == Counts(2, 0, 0, {"unencodable": 2}, 0, 0)


def test_the_log_tells_each_change_once(
    receiver: Receiver, exporter_to: Made, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector that refuses every batch of a busy server does not fill the log."""
    receiver.behave = lambda number: NEVER if number <= 20 else Reply()
    exporter = exporter_to(batch=1, delay=60)
    send(exporter, 21)
    until(lambda: _all_sent(exporter))

    told = [record.getMessage() for record in caplog.records]
    assert [each.partition(":")[0] for each in told] == [
        "the collector refuses spans, and they are lost",
        "the collector takes spans again",
    ]
