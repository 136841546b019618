"""The thread that sends: what the spool holds first, then the queue, batch by batch, again and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from guardhouse.interceptors.record.spans import SCHEMA_URL
from guardhouse.interceptors.record.wire import field

from .answers import Answer, Later, Never, Taken, Transport, pause
from .overflow import Overflow
from .queue import Part, Queue
from .tally import Place, Tally

LOG: Final = logging.getLogger("guardhouse.export")
SCHEMA: Final = field(b"\x1a", SCHEMA_URL.encode())  # of ResourceSpans and ScopeSpans alike
SCOPE: Final = field(b"\n", field(b"\n", b"guardhouse"))


class Envelope:
    """Makes requests of parts, all from one encoded resource."""

    def __init__(self, resource: bytes) -> None:
        self._head = field(b"\n", resource)

    def around(self, parts: Sequence[Part]) -> bytes:
        """An encoded `ExportTraceServiceRequest`: our spans in one scope, others in theirs."""
        ours = b"".join(part.content for part in parts if part.ours)
        scopes = [field(b"\x12", part.content) for part in parts if not part.ours]
        if ours:
            scopes.insert(0, field(b"\x12", b"".join((SCOPE, ours, SCHEMA))))
        return field(b"\n", b"".join((self._head, *scopes, SCHEMA)))


class Sender:
    """Takes from *queue* and *overflow* what *transport* sends; every span that goes is moved in *tally*.

    Args:
        delay: Seconds that a span may wait for its batch to fill.
        timeout: Seconds for one request.
    """

    def __init__(
        self,
        transport: Transport,
        envelope: Envelope,
        queue: Queue,
        overflow: Overflow,
        tally: Tally,
        delay: float,
        timeout: float,
    ) -> None:
        self._transport, self._envelope = transport, envelope
        self._queue, self._overflow, self._tally = queue, overflow, tally
        self._delay, self._timeout = delay, timeout
        self._closing = threading.Event()
        self._told = ""  # why the collector took nothing, as last logged
        self._last_try = float("inf")  # monotonic seconds after which nothing is tried again

    def close_by(self, last_try: float) -> None:
        """Come to an end: send the queue, and what has not gone by *last_try* (monotonic seconds) never."""
        self._last_try = last_try
        self._closing.set()

    def run(self) -> None:
        """Send until closed; then what is queued, as far as time allows. The rest is kept, or lost."""
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # or a traced request would make a span
        while not self._closing.is_set():
            self._send_spool()
            self._queue.full.wait(self._delay)
            self._send_queue()
        self.finish()

    def finish(self) -> None:
        """Bring every span of the queue to where it stays."""
        while parts := self._queue.take():
            self._send(parts)

    def _send_spool(self) -> None:
        """Everything on the disk: it is older than what is in memory."""
        spool = self._overflow.spool
        while spool and not self._closing.is_set() and (kept := spool.oldest()):
            request = spool.read(kept)
            if request is None:
                LOG.warning("a file of the spool with %d spans was damaged", kept.spans)
                self._tally.lost(kept.spans, "spool_damaged", "spooled")
            elif not self._deliver(request, kept.spans, "spooled"):
                return
            spool.drop(kept)

    def _send_queue(self) -> None:
        """Every full batch, and one that is not. Short batches are what makes exporting dear."""
        while parts := self._queue.take():
            self._send(parts)
            if self._closing.is_set() or not self._queue.full.is_set() or self._overflow.waits():
                return

    def _send(self, parts: Sequence[Part]) -> None:
        request, spans = self._envelope.around(parts), sum(part.spans for part in parts)
        if not self._deliver(request, spans, "queued"):
            self._overflow.keep(request, spans)

    def _deliver(self, request: bytes, spans: int, place: Place) -> bool:
        """Send one batch until the collector has decided about it. False if it never did."""
        tries = 0
        while (left := self._last_try - time.monotonic()) > 0:
            answer = self._transport.send(request, min(self._timeout, left))
            if isinstance(answer, Taken):
                self._tally.sent(spans, min(answer.rejected, spans), place)
                self._tell(answer)
                return True
            if isinstance(answer, Never):
                self._tell(answer)
                self._tally.lost(spans, "refused", place)
                return True
            tries += 1
            self._wait(answer, tries)
        return False

    def _tell(self, answer: Answer) -> None:
        """Log how it goes, once for each change: a collector that refuses all would fill the log."""
        told = "" if isinstance(answer, Taken) else answer.why
        if told == self._told:
            return
        self._told = told
        if isinstance(answer, Taken):
            LOG.warning("the collector takes spans again")
        elif isinstance(answer, Never):
            LOG.warning("the collector refuses spans, and they are lost: %s", told)
        else:
            LOG.warning("the collector takes no spans (%s); trying again", told)

    def _wait(self, answer: Later, tries: int) -> None:
        """Stay away for a while; until somebody closes us, or for as long as they still let us try."""
        self._tell(answer)
        seconds = pause(tries, answer.after, random.random())
        if not self._closing.is_set():
            self._closing.wait(seconds)
        elif self._overflow.spool:
            self._last_try = 0.0  # they are safer on the disk than with us
        else:
            time.sleep(max(0.0, min(seconds, self._last_try - time.monotonic())))
