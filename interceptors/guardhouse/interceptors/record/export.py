"""Sends finished spans to an OTLP/gRPC collector from a thread of its own. Never fails or delays a call.

A span that cannot be kept or delivered is counted in `lost`, so that sent + lost + queued is every span.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from .spans import SCHEMA_URL
from .wire import field

LOG = logging.getLogger("guardhouse.export")
METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# What OTLP says may be tried again (OTLP specification, "Failures").
RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Exporter:
    """A bounded queue of encoded spans and the thread that empties it.

    Args:
        target: `host:port` of the collector.
        resource: `opentelemetry.proto.resource.v1.Resource`, encoded.
        credentials: For TLS; None sends in plain text.
        queue: Spans kept while the collector is away; more are lost, and counted.
        batch: Spans in one request.
        delay: Seconds a span may wait for its batch to fill. Short batches are what makes exporting dear.
        timeout: Seconds for one request.
    """

    def __init__(
        self,
        target: str,
        resource: bytes,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        queue: int = 65536,
        batch: int = 512,
        delay: float = 1.0,
        timeout: float = 10.0,
    ) -> None:
        self.sent = 0
        self.lost = 0
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued = 0
        self._room = queue
        self._batch = batch
        self._delay = delay
        self._timeout = timeout
        self._full = threading.Event()  # a whole batch is waiting, or we are closing
        self._closed = threading.Event()
        self._count = threading.Lock()  # several threads lose spans
        self._last_try = float("inf")  # monotonic seconds after which nothing is tried again
        self._head = field(b"\n", resource)
        self._scope = field(b"\n", field(b"\n", b"guardhouse"))
        self._schema = field(b"\x1a", SCHEMA_URL.encode())
        self._channel = (
            grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
        )
        self._send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)
        self._thread = threading.Thread(target=self._run, name="guardhouse-export", daemon=True)
        self._thread.start()

    def export(self, spans: bytes, count: int) -> None:
        """Queue *count* spans, encoded as concatenated `ScopeSpans.spans` fields. Never waits."""
        if self._closed.is_set() or self._queued + count > self._room:
            self._lose(count)
            return
        with self._count:
            self._queue.append((spans, count))
            self._queued += count
        if self._queued >= self._batch and not self._full.is_set():
            self._full.set()

    @property
    def queued(self) -> int:
        """Spans waiting to be sent."""
        return self._queued

    def _take(self) -> list[tuple[bytes, int]]:
        """What goes into the next request: about a batch."""
        taken, spans = [], 0
        with self._count:
            while self._queue and spans < self._batch:
                taken.append(self._queue.popleft())
                spans += taken[-1][1]
            self._queued -= spans
        return taken

    def close(self, grace: float = 5.0) -> None:
        """Send what is queued, for at most *grace* seconds; the rest is lost, and counted."""
        if self._closed.is_set():
            return
        self._last_try = time.monotonic() + grace
        self._closed.set()
        self._full.set()
        self._thread.join(grace)
        self._channel.close()  # ends a request that is still under way
        self._thread.join(1.0)
        with self._count:
            left, self._queued = self._queued, 0
            self._queue.clear()
        self._lose(left)
        if self.lost:
            LOG.warning("%d spans were lost, %d sent", self.lost, self.sent)

    def _lose(self, spans: int) -> None:
        with self._count:
            self.lost += spans

    def _run(self) -> None:
        while self._queue or not self._closed.is_set():
            self._full.wait(self._delay)
            if not self._closed.is_set():
                self._full.clear()
            while self._queue:
                taken = self._take()
                self._deliver([spans for spans, _ in taken], sum(count for _, count in taken))
                if self._queued < self._batch and not self._closed.is_set():
                    break

    def _deliver(self, spans: list[bytes], count: int) -> None:
        """Send one batch, again and again while the collector may yet take it."""
        request = self._request(spans)
        pause = 0.2
        while True:
            remaining = self._last_try - time.monotonic()
            if remaining <= 0:
                break
            try:
                answer = self._send(request, timeout=min(self._timeout, remaining))
            except ValueError:  # the channel was closed
                break
            except grpc.RpcError as error:
                if error.code() not in RETRYABLE:
                    LOG.warning("the collector refused %d spans: %s", count, error.code().name)
                    break
                self._rest(pause)
                pause = min(pause * 2, 5.0)
            else:
                rejected = min(_rejected(answer), count)
                self._lose(rejected)
                self.sent += count - rejected
                return
        self._lose(count)

    def _rest(self, seconds: float) -> None:
        """Wait before the next try: until somebody closes us, or for as long as they still let us try."""
        if self._closed.is_set():
            time.sleep(max(0.0, min(seconds, self._last_try - time.monotonic())))
        else:
            self._closed.wait(seconds)

    def _request(self, spans: list[bytes]) -> bytes:
        scope_spans = self._scope + b"".join(spans) + self._schema
        resource_spans = self._head + field(b"\x12", scope_spans) + self._schema
        return field(b"\n", resource_spans)


def _rejected(answer: bytes) -> int:
    """Spans that the collector took in but threw away. An answer that cannot be read says nothing."""
    try:
        return max(0, ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)
    except DecodeError:
        return 0
