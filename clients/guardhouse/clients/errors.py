"""What a call can raise, and how a status on the wire becomes one of these.

The rich status is `google.rpc.Status` in `grpc-status-details-bin` (AIP-193); pushback is gRFC A6.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

# ruff: noqa: N818 - the codes of gRPC are the names, and callers know them


class ConfigurationError(ValueError):
    """A client cannot be made of what it was given; the text says what is wrong and what to do."""


class GuardhouseError(Exception):
    """A call failed.

    Attributes:
        code: The gRPC status code.
        reason: The stable word to branch on, such as "RATE_LIMITED"; "" where the server gave none.
        error_id: What the operator finds this failure by; "" where the server gave none.
        trace_id: The trace of the call, 32 hexadecimal digits; "" where the server gave none.
        retry_after: Seconds after which the server says that the same call may pass; None where it does not.
        message: One printable line.
    """

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode = StatusCode.UNKNOWN,
        reason: str = "",
        error_id: str = "",
        trace_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.error_id = error_id
        self.trace_id = trace_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        named = f"{self.code.name} {self.reason}".strip()
        return f"{named}: {self.message}" if self.message else named


class Unauthenticated(GuardhouseError):
    """The server does not know who calls: a credential is missing, expired, revoked or not accepted."""


class PermissionDenied(GuardhouseError):
    """The server knows who calls, and the policy does not allow this."""


class NotFound(GuardhouseError):
    """There is no such model or version."""


class InvalidArgument(GuardhouseError):
    """The server cannot use what was sent: a shape, datatype, name or parameter."""


class ResourceExhausted(GuardhouseError):
    """There is too much of something: a message or its metadata is too large, or the server lacks room."""


class RateLimited(ResourceExhausted):
    """Too many calls for now: a rate or a quota is used up; `retry_after` says when to come back."""


class Unavailable(GuardhouseError):
    """No server could be reached, the TLS handshake failed, or the server takes no calls at the moment."""


class DeadlineExceeded(GuardhouseError):
    """The time given to the call has passed."""


class ServerError(GuardhouseError):
    """The server or its model failed, lacks the method, or answered nonsense."""


CLASSES: Final[dict[StatusCode, type[GuardhouseError]]] = {
    StatusCode.CANCELLED: GuardhouseError,
    StatusCode.UNKNOWN: ServerError,
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.ALREADY_EXISTS: GuardhouseError,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,  # or RateLimited, see `from_status`
    StatusCode.FAILED_PRECONDITION: GuardhouseError,
    StatusCode.ABORTED: GuardhouseError,
    StatusCode.OUT_OF_RANGE: InvalidArgument,
    StatusCode.UNIMPLEMENTED: ServerError,
    StatusCode.INTERNAL: ServerError,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.DATA_LOSS: ServerError,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
}

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # reasons and ids: fit for a terminal and a log
_LONGEST_MESSAGE = 500


class Details(NamedTuple):
    """What the rich status adds to the code."""

    reason: str = ""
    error_id: str = ""
    trace_id: str = ""
    retry_delay: float | None = None


def from_rpc(failure: grpc.RpcError) -> GuardhouseError:
    """Return the error for what grpc raised: by a sync channel or an aio one, they answer alike."""
    call: Any = failure
    return from_status(call.code(), call.details() or "", call.trailing_metadata() or ())


def from_status(code: StatusCode, message: str, trailers: Iterable[tuple[str, Any]]) -> GuardhouseError:
    """Return the error for a status and its trailing metadata, which need not be from a Guardhouse server."""
    found = dict(trailers)
    details = read_details(found.get("grpc-status-details-bin", b""))
    reason = details.reason or _word(found.get("guardhouse-reason"))
    wait = retry_after(found.get("grpc-retry-pushback-ms"), details.retry_delay)
    return _class(code, reason, wait)(
        one_line(message),
        code=code,
        reason=reason,
        error_id=details.error_id,
        trace_id=trace_id(found) or details.trace_id,
        retry_after=wait,
    )


def _class(code: StatusCode, reason: str, wait: float | None) -> type[GuardhouseError]:
    """The class of an error. What is exhausted and mends with time is a rate; a size does not."""
    limited = reason == "RATE_LIMITED" or wait is not None
    return RateLimited if code is StatusCode.RESOURCE_EXHAUSTED and limited else CLASSES[code]


def trace_id(trailers: dict[str, Any]) -> str:
    """Return the trace id that trailing metadata names, or "" where there is none."""
    return _match(_TRACE_ID, trailers.get("guardhouse-trace-id"))


def read_details(encoded: bytes) -> Details:
    """Read `google.rpc.Status` bytes; what is missing, unknown or malformed is left out."""
    try:
        packed = status_pb2.Status.FromString(encoded).details
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        delays = [retry.retry_delay.ToNanoseconds() / 1e9 for any_ in packed if any_.Unpack(retry)]
        next((any_ for any_ in packed if any_.Unpack(info)), None)
    except DecodeError:
        return Details()
    return Details(
        reason=_word(info.reason),
        error_id=_word(info.metadata.get("error_id")),
        trace_id=_match(_TRACE_ID, info.metadata.get("trace_id")),
        retry_delay=max(0.0, delays[0]) if delays else None,
    )


def retry_after(pushback: Any, retry_delay: float | None) -> float | None:
    """Return the seconds to wait that the server asks for, or None where it does not invite a retry.

    Pushback in milliseconds wins over RetryInfo; what is negative or no number forbids a retry (gRFC A6).
    """
    if pushback is None:
        return retry_delay
    return int(pushback) / 1000 if re.fullmatch(r"[0-9]{1,9}", str(pushback)) else None


def one_line(text: str) -> str:
    """Return the text on one printable line: it comes from elsewhere, and ends up in terminals and logs."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_LONGEST_MESSAGE]


def _word(text: Any) -> str:
    return _match(_WORD, text)


def _match(pattern: re.Pattern[str], text: Any) -> str:
    return text if isinstance(text, str) and pattern.fullmatch(text) else ""
