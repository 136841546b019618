"""What stands behind the chain: one gRPC method, whichever of the four shapes it has."""

from __future__ import annotations

import inspect
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from guardhouse.interceptors.call import Call, Metadata
from guardhouse.interceptors.refusal import DOMAIN, Refusal, sentence

LOG = logging.getLogger("guardhouse")

KEPT_BACK = ("authorization", "guardhouse-", "grpc-status-details-bin", "x-forwarded-client-cert")
ROOM = 4096  # bytes of trailing metadata for the service: 8 KiB is what callers read at most
PAUSE = 1.0  # seconds after which a first message finds its caller asked once more
_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")


class Target(NamedTuple):
    """A method handler taken apart once, so that no call has to.

    Attributes:
        behave: The function of the service.
        takes_stream: It takes an iterator of requests, not one request.
        gives_stream: It answers with any number of messages.
        style: "coroutine", "generator" (an async one), or "plain" (everything that is not async).
        parse: Bytes to message.
        render: Message to bytes.
    """

    behave: Callable[..., Any]
    takes_stream: bool
    gives_stream: bool
    style: str
    parse: Callable[[bytes], Any]
    render: Callable[[Any], bytes]


def _same(message: Any) -> Any:
    return message


def take_apart(handler: Any) -> Target:
    """The target of a `grpc.RpcMethodHandler`."""
    asks = "stream" if handler.request_streaming else "unary"
    answers = "stream" if handler.response_streaming else "unary"
    behave = getattr(handler, f"{asks}_{answers}")
    return Target(
        behave,
        bool(handler.request_streaming),
        bool(handler.response_streaming),
        _style(behave),
        handler.request_deserializer or _same,
        handler.response_serializer or _same,
    )


def _style(behave: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(behave):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(behave) else "plain"


class Targets:
    """Targets by method, each taken apart once. Bounded: a service may answer to any path."""

    def __init__(self, most: int = 4096) -> None:
        self._known: dict[str, tuple[Any, Target]] = {}
        self._most = most

    def of(self, method: str, handler: Any) -> Target | None:
        """The target of *handler*, None for None (no such method)."""
        if handler is None:
            return None
        known = self._known.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        made = take_apart(handler)
        if len(self._known) < self._most:
            self._known[method] = handler, made
        return made


def parse(target: Target, call: Call, raw: bytes) -> Any:
    """The request message in *raw*. Bytes that are none are the caller's mistake."""
    call.requests += 1
    call.request_bytes += len(raw)
    call.raw = raw
    try:
        return target.parse(raw)
    except Exception as error:
        raise Refusal("MESSAGE_UNREADABLE", type(error).__name__) from None


def render(target: Target, call: Call, response: Any) -> bytes:
    """The bytes of *response*. What cannot be written must not leave as an empty message."""
    raw = target.render(response)
    if not isinstance(raw, bytes):
        message = f"the handler's answer rendered to {type(raw).__name__}, not bytes"
        raise TypeError(message)
    call.responses += 1
    call.response_bytes += len(raw)
    return raw


def without_credentials(call: Call) -> Metadata:
    """The caller's metadata as the service may see it: no credentials, no keys of ours."""
    return tuple(item for item in call.metadata if not item[0].startswith(KEPT_BACK))


def cut_off(target: Target) -> Refusal:
    """Why grpc ended a call while it waited for a message: it does not tell, so the likelier of the two.

    Where there is but one message, callers send it at once; in a stream they take their time.
    """
    note = "the caller left, or sent a message over the limit"
    return Refusal("CANCELLED" if target.takes_stream else "TOO_LARGE", note)


def late(given: float | None, left: float | None) -> bool:
    """Whether a call that grpc has ended was ended by its deadline, of *given* seconds, with *left* to go.

    On its way here a deadline is rounded up by as much as a hundredth, so the caller's strikes first.
    """
    return given is not None and left is not None and left <= 0.02 + given / 100


def waited(call: Call) -> bool:
    """Whether it is a while since the guards were last told the time: what they know may be so no longer."""
    return time.monotonic() - call.now > PAUSE


def overdue(call: Call) -> bool:
    """Whether *call* has taken longer than we give it."""
    return call.patience is not None and time.monotonic_ns() - call.opened_ns > call.patience * 1e9


def time_left(call: Call, most: float | None) -> float | None:
    """Seconds until *call* is overdue, but *most*; None for no limit of ours."""
    if call.patience is None:
        return most
    left = max(0.0, call.patience - (time.monotonic_ns() - call.opened_ns) * 1e-9)
    return left if most is None else min(left, most)


def _legal(key: str, value: str | bytes) -> bool:
    if not _KEY.fullmatch(key):
        return False
    if key.endswith("-bin"):
        return isinstance(value, bytes)
    return _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")) is not None


def _fitting(pairs: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str | bytes]]:
    """Those *pairs* that grpc can send and that leave room for the status; the others are logged.

    One that is not legal would make grpc answer in its own words, or not at all.
    """
    room = ROOM
    for key, value in pairs:
        room -= len(key) + len(value) * 4 // 3 + 32
        if room < 0 or not _legal(key, value):
            LOG.error("trailing metadata %.64r is too large or not legal, and was not sent", key)
        else:
            yield key, value


def trailers(call: Call, refusal: Refusal | None, said: Metadata = ()) -> Metadata:
    """Trailing metadata of the answer: the trace's id, what guards added, and why it was refused.

    The rich status follows `google.rpc.Status` (AIP-193); pushback follows gRFC A6.

    Args:
        call: The call, settled.
        refusal: Why it was refused, if it was.
        said: What the service added; a rich status of its own gives way to ours.
    """
    ours = (
        (*call.trailers, ("guardhouse-trace-id", f"{call.trace_id:032x}")) if call.trace_id else call.trailers
    )
    if refusal is None:
        return (*_fitting(said), *ours) if said else ours
    if refusal.reason == "HANDLER":
        return (*_fitting(said), *ours)
    theirs = [pair for pair in said if pair[0] != "grpc-status-details-bin"]
    why: list[tuple[str, str | bytes]] = [
        ("guardhouse-reason", refusal.reason),
        ("grpc-status-details-bin", _rich_status(call, refusal)),
    ]
    if refusal.retry_after is not None:
        why.append(("grpc-retry-pushback-ms", str(max(1, math.ceil(refusal.retry_after * 1000)))))
    return (*_fitting(theirs), *ours, *why)


def _rich_status(call: Call, refusal: Refusal) -> bytes:
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.words)
    ids = {"error_id": f"{call.span_id:016x}", "trace_id": f"{call.trace_id:032x}"} if call.span_id else {}
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=ids)
    status.details.add().Pack(info)
    if refusal.limit:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=refusal.limit, description=refusal.words)
        status.details.add().Pack(quota)
    if refusal.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(max(1, math.ceil(refusal.retry_after * 1e9)))
        status.details.add().Pack(retry)
    return bytes(status.SerializeToString())


def said(code: Any) -> StatusCode:
    """The status a handler chose, from whatever it gave: a StatusCode or its number."""
    if isinstance(code, StatusCode):
        return code
    return next((known for known in StatusCode if known.value[0] == code), StatusCode.UNKNOWN)


def handler_refusal(code: Any, details: str | None) -> Refusal:
    """The refusal for a handler that aborts or sets a code by itself.

    Its words are the service's own and pass; INTERNAL, UNKNOWN and OK do not: an abort with one of them
    is a failure of the model, and its details are as private as an exception's text.
    """
    status = said(code)
    if status in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.INTERNAL):
        return Refusal("MODEL_FAILED", f"handler said {status.name}")
    refusal = Refusal("HANDLER", f"handler said {status.name}", code=status)
    refusal.words = sentence(str(details or "")) or refusal.words
    return refusal
