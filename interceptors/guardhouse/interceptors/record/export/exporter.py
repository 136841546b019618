"""Sends finished spans to a collector from a thread of its own. Never fails or delays a call.

A span is delivered at least once, or counted as lost, or still there: see `Counts`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .answers import Transport
from .overflow import Overflow
from .queue import Part, Queue
from .sender import LOG, Envelope, Sender
from .spool import Spool
from .tally import Counts, Reason, Tally

PATIENCE = 1.0  # seconds for a thread to end, once what it waits for has been cut off


class Exporter:
    """A bounded queue of encoded spans and the thread that empties it.

    Args:
        transport: The way to the collector; closed with the exporter.
        resource: `opentelemetry.proto.resource.v1.Resource`, encoded.
        spool: Where spans go when more than half of the queue is in use; closed with the exporter.
        queue: Spans kept in memory while the collector is away; more are lost, and counted.
        memory: Bytes that those may have.
        batch: Spans in one request.
        delay: Seconds a span may wait for its batch to fill.
        timeout: Seconds for one request.
    """

    def __init__(
        self,
        transport: Transport,
        resource: bytes,
        *,
        spool: Spool | None = None,
        queue: int = 65536,
        memory: int = 64 * 2**20,
        batch: int = 512,
        delay: float = 1.0,
        timeout: float = 10.0,
    ) -> None:
        envelope = Envelope(resource)
        self._transport = transport
        self._tally = Tally()
        self._queue = Queue(queue, memory, batch)
        self._overflow = Overflow(spool, envelope.around, self._queue, self._tally)
        self._sender = Sender(transport, envelope, self._queue, self._overflow, self._tally, delay, timeout)
        self._threads = [_thread("guardhouse-export", self._sender.run)]
        if spool is not None:
            self._tally.found(spool.spans)
            self._threads.append(_thread("guardhouse-spool", self._overflow.run))
            if spool.torn:
                LOG.warning("%d files of the spool were torn, and removed", spool.torn)
        self._closed = False
        for thread in self._threads:
            thread.start()

    def export(self, spans: bytes, count: int) -> None:
        """Queue *count* spans, encoded as concatenated `ScopeSpans.spans` fields. Never waits."""
        self._put(Part(spans, count, ours=True))

    def export_scope(self, scope_spans: bytes, count: int) -> None:
        """Queue *count* spans of another instrumentation scope, as one encoded `ScopeSpans`. Never waits."""
        self._put(Part(scope_spans, count, ours=False))

    def lose(self, count: int, reason: Reason) -> None:
        """Count *count* spans that could not even be handed over; *reason* is one of `tally.REASONS`."""
        self._tally.came(count)
        self._tally.lost(count, reason, "queued")

    @property
    def counts(self) -> Counts:
        """Where every span is, at this moment."""
        return self._tally.counts()

    def close(self, grace: float = 5.0) -> None:
        """Send what is queued, for at most *grace* seconds; the rest goes to the spool, or is lost."""
        if self._closed:
            return
        self._closed = True
        self._overflow.close()
        self._sender.close_by(time.monotonic() + grace)
        self._queue.stop()
        self._threads[0].join(grace)
        self._transport.close()  # ends a request that is still under way
        for thread in self._threads:
            thread.join(PATIENCE)
        self._sender.finish()
        if self._overflow.spool is not None:
            self._overflow.spool.close()
        self._report()

    def _put(self, part: Part) -> None:
        self._tally.came(part.spans)
        if not self._queue.put(part):
            self._tally.lost(part.spans, self._why_not(), "queued")

    def _why_not(self) -> Reason:
        if self._closed:
            return "shutdown"
        return "spool_full" if self._overflow.full else "queue_full"

    def _report(self) -> None:
        """Say what was lost, if anything, and what waits for the next start."""
        counts = self.counts
        if lost := sum(counts.lost.values()):
            reasons = ", ".join(f"{reason}: {spans}" for reason, spans in counts.lost.items())
            LOG.warning("%d spans were lost (%s), %d sent", lost, reasons, counts.sent)
        if counts.spooled:
            LOG.warning("%d spans wait in the spool for the next start", counts.spooled)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=target, name=name, daemon=True)
