"""From a status on the wire to an exception: any server's, and hostile ones."""

import pickle
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from guardhouse import clients
from guardhouse.clients import errors

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NAMES = {
    StatusCode.UNAUTHENTICATED: clients.Unauthenticated,
    StatusCode.PERMISSION_DENIED: clients.PermissionDenied,
    StatusCode.NOT_FOUND: clients.NotFound,
    StatusCode.INVALID_ARGUMENT: clients.InvalidArgument,
    StatusCode.RESOURCE_EXHAUSTED: clients.ResourceExhausted,
    StatusCode.UNAVAILABLE: clients.Unavailable,
    StatusCode.DEADLINE_EXCEEDED: clients.DeadlineExceeded,
    StatusCode.INTERNAL: clients.ServerError,
    StatusCode.UNKNOWN: clients.ServerError,
    StatusCode.UNIMPLEMENTED: clients.ServerError,
}


def details(*packed: Any) -> bytes:
    """A rich status with these details."""
    status = status_pb2.Status(code=8)
    for each in packed:
        status.details.add().Pack(each)
    encoded: bytes = status.SerializeToString()
    return encoded


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    return info


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.OK])
def test_every_code_has_its_class(code: StatusCode) -> None:
    """Each status code but OK becomes the exception its name promises, which carries the code."""
    error = errors.from_status(code, "words", ())
    assert type(error) is NAMES.get(code, errors.CLASSES[code])
    assert (error.code, error.message, str(error)) == (code, "words", f"{code.name}: words")


@pytest.mark.parametrize(
    ("trailers", "limited"),
    [
        ((("guardhouse-reason", "RATE_LIMITED"),), True),
        ((("grpc-retry-pushback-ms", "250"),), True),
        ((("grpc-status-details-bin", details(retry_info(1.5))),), True),
        ((("guardhouse-reason", "TOO_LARGE"),), False),
        ((("grpc-retry-pushback-ms", "-1"),), False),
        ((), False),
    ],
)
def test_a_rate_is_told_from_a_size(trailers: Any, limited: bool) -> None:
    """RESOURCE_EXHAUSTED is `RateLimited` by its reason or an invitation to come back, and not by itself."""
    error = errors.from_status(StatusCode.RESOURCE_EXHAUSTED, "", trailers)
    assert type(error) is (clients.RateLimited if limited else clients.ResourceExhausted)
    assert isinstance(error, clients.ResourceExhausted)


def test_a_guardhouse_refusal_is_read_whole() -> None:
    """Reason, error id, trace id and delay come from the rich status and the trailing metadata."""
    info = error_details_pb2.ErrorInfo(
        reason="RATE_LIMITED",
        domain="guardhouse",
        metadata={"error_id": "00f067aa0ba902b7", "trace_id": TRACE},
    )
    trailers = (("grpc-status-details-bin", details(info, retry_info(1.5))),)
    error = errors.from_status(StatusCode.RESOURCE_EXHAUSTED, "too many calls", trailers)
    found = (error.reason, error.error_id, error.trace_id, error.retry_after)
    assert found == ("RATE_LIMITED", "00f067aa0ba902b7", TRACE, 1.5)


def test_trailing_metadata_alone_will_do() -> None:
    """Without rich details, the plain keys tell reason, trace and pushback."""
    trailers = (
        ("guardhouse-reason", "LEDGER_UNAVAILABLE"),
        ("guardhouse-trace-id", TRACE),
        ("grpc-retry-pushback-ms", "250"),
    )
    error = errors.from_status(StatusCode.UNAVAILABLE, "", trailers)
    assert (error.reason, error.trace_id, error.retry_after) == ("LEDGER_UNAVAILABLE", TRACE, 0.25)
    assert str(error) == "UNAVAILABLE LEDGER_UNAVAILABLE"


def test_a_server_that_says_nothing_more_gives_empty_fields() -> None:
    """Another server's plain status has no reason and no ids, and invites no retry."""
    error = errors.from_status(StatusCode.INTERNAL, "boom", ())
    assert (error.reason, error.error_id, error.trace_id, error.retry_after) == ("", "", "", None)


@pytest.mark.parametrize(
    ("pushback", "delay", "wanted"),
    [
        (None, None, None),
        (None, 2.0, 2.0),
        ("100", 2.0, 0.1),
        ("0", None, 0.0),
        ("-1", 2.0, None),
        ("soon", 2.0, None),
        ("", 2.0, None),
        (b"100", 2.0, None),
        ("1" * 30, None, None),
    ],
)
def test_pushback_wins_over_retry_info(pushback: Any, delay: float | None, wanted: float | None) -> None:
    """Pushback is exact; one that is negative or no number forbids the retry (gRFC A6)."""
    assert errors.retry_after(pushback, delay) == wanted


def test_a_negative_retry_delay_is_none_at_all() -> None:
    """A delay in the past means now."""
    assert errors.read_details(details(retry_info(-5))).retry_delay == 0.0


@given(st.binary(max_size=200))
def test_no_rich_status_crashes_the_reader(encoded: bytes) -> None:
    """Whatever bytes are sent as rich status, the error is made, with printable fields."""
    error = errors.from_status(StatusCode.INTERNAL, "", (("grpc-status-details-bin", encoded),))
    assert f"{error.reason}{error.error_id}{error.trace_id}".isprintable()


@given(st.text(max_size=600))
def test_a_message_is_one_printable_line(text: str) -> None:
    """Words from elsewhere cannot break a log line or command a terminal."""
    line = errors.one_line(text)
    assert line.isprintable()
    assert len(line) <= 500


@pytest.mark.parametrize("key", ["reason", "error_id", "trace_id"])
def test_fields_that_are_no_words_are_dropped(key: str) -> None:
    """A reason or id with spaces, escapes or of great length is left out."""
    hostile = "\x1b[2J evil"
    info = error_details_pb2.ErrorInfo(reason=hostile, metadata={"error_id": hostile, "trace_id": hostile})
    error = errors.from_status(StatusCode.INTERNAL, "", (("grpc-status-details-bin", details(info)),))
    assert getattr(error, key) == ""


def test_errors_travel_between_processes() -> None:
    """A pickled error comes back with all it carries."""
    error = clients.RateLimited(
        "slow", code=StatusCode.RESOURCE_EXHAUSTED, reason="RATE_LIMITED", retry_after=1.0
    )
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), vars(back)) == (type(error), vars(error))


def test_every_class_is_of_the_one_family() -> None:
    """`except GuardhouseError` catches each of them, and none is a grpc error."""
    assert all(issubclass(each, clients.GuardhouseError) for each in errors.CLASSES.values())
    assert not issubclass(clients.GuardhouseError, grpc.RpcError)
