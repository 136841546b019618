"""What a collector's answer means for a batch: taken, to be tried again, or never to be taken.

Decided by the OTLP specification ("OTLP/gRPC Response", "OTLP/HTTP Response"). Nothing here does I/O.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, Protocol, TypeAlias

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

LONGEST: Final = 60.0  # seconds that a collector may send us away for; it asks, we have spans to keep
AGAIN: Final = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.ABORTED,
        StatusCode.OUT_OF_RANGE,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
HTTP_AGAIN: Final = frozenset({429, 502, 503, 504})


class Taken(NamedTuple):
    """The collector has the batch, and threw *rejected* of its spans away."""

    rejected: int = 0


class Later(NamedTuple):
    """Not now. *after* is how many seconds the collector wants us to stay away, if it said so."""

    why: str
    after: float | None = None


class Never(NamedTuple):
    """The collector will not have this batch."""

    why: str


Answer: TypeAlias = Taken | Later | Never


class Transport(Protocol):
    """A way to a collector. Used by one thread; `close` by any."""

    def send(self, request: bytes, timeout: float) -> Answer:
        """Send an encoded `ExportTraceServiceRequest`, for at most *timeout* seconds. Never raises."""

    def close(self) -> None:
        """End a request that is under way, and all that would come."""


def of_status(code: StatusCode, details: bytes) -> Answer:
    """What a gRPC status means; *details* is its `grpc-status-details-bin`, or empty."""
    after = _retry_info(details)
    if code in AGAIN or (code is StatusCode.RESOURCE_EXHAUSTED and after is not None):
        return Later(code.name, after)
    return Never(code.name)


def of_response(status: int, retry_after: str, body: bytes, now: float) -> Answer:
    """What an HTTP response means; *now* is in seconds since the epoch. A redirect is not followed."""
    if 200 <= status < 300:
        return Taken(rejected(body))
    if status in HTTP_AGAIN:
        return Later(f"HTTP {status}", _seconds(retry_after, now))
    return Never(f"HTTP {status}")


def rejected(body: bytes) -> int:
    """Spans that a collector took in but threw away. An answer that cannot be read says nothing."""
    try:
        return max(0, ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans)
    except DecodeError:
        return 0


def pause(tries: int, asked: float | None, chance: float) -> float:
    """Seconds before try number *tries* + 1: twice as long each time, from 0.2 to 5, and never in step.

    Args:
        tries: How often it was tried, at least 1.
        asked: What the collector asked for; the pause is not shorter.
        chance: From 0 to 1, so that many servers do not come back all at once.
    """
    usual = min(5.0, 0.2 * 2.0 ** min(tries - 1, 10)) * (0.5 + chance / 2)
    return usual if asked is None else max(0.0, asked) + usual * 0.1


def _retry_info(details: bytes) -> float | None:
    info = error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info):
                delay = info.retry_delay
                return min(LONGEST, max(0.0, float(delay.seconds + delay.nanos / 1e9)))
    except DecodeError:
        pass
    return None


def _seconds(retry_after: str, now: float) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3): seconds, or a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST, float(text[:9]))
    try:
        return min(LONGEST, max(0.0, parsedate_to_datetime(text).timestamp() - now))
    except (ValueError, OverflowError):
        return None
