"""What a collector's answer means, by the OTLP specification, as pure decisions."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from grpc import StatusCode as Code
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.record.export.answers import (
    LONGEST,
    Later,
    Never,
    Taken,
    of_response,
    of_status,
    pause,
    rejected,
)

from .collectors import rich

NOW = 1_700_000_000.0
RETRYABLE = {
    Code.CANCELLED,
    Code.DEADLINE_EXCEEDED,
    Code.ABORTED,
    Code.OUT_OF_RANGE,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
}


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_a_status(code: Code) -> None:
    """Only what OTLP lists may be tried again; RESOURCE_EXHAUSTED only with a word on when."""
    assert isinstance(of_status(code, b""), Later if code in RETRYABLE else Never)
    wanted = Later if code in RETRYABLE | {Code.RESOURCE_EXHAUSTED} else Never
    assert isinstance(of_status(code, rich(2.5)), wanted)


@pytest.mark.parametrize(
    ("details", "after"),
    [(rich(2.5), 2.5), (rich(-1), 0.0), (rich(10**6), LONGEST), (b"", None), (b"\xff\xff", None)],
)
def test_retry_info(details: bytes, after: float | None) -> None:
    """The collector's wish is heard, within reason; details that cannot be read say nothing."""
    assert of_status(Code.UNAVAILABLE, details) == Later("UNAVAILABLE", after)


@pytest.mark.parametrize(
    "status", [200, 202, 204, 301, 307, 308, 400, 401, 404, 413, 429, 500, 501, 502, 503, 504]
)
def test_a_response(status: int) -> None:
    """2xx is taken, four codes may be tried again, all else is not; a redirect is not followed."""
    wanted = Taken if status < 300 else Later if status in {429, 502, 503, 504} else Never
    assert isinstance(of_response(status, "", b"", NOW), wanted)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("9" * 5000, LONGEST),
        (formatdate(NOW + 5, usegmt=True), 5.0),
        (formatdate(NOW - 5, usegmt=True), 0.0),
        (formatdate(NOW + 10**6, usegmt=True), LONGEST),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("1e3", None),
        ("\u00b2", None),
    ],
)
def test_retry_after(text: str, after: float | None) -> None:
    """Seconds or a date, within reason; anything else says nothing."""
    assert of_response(503, text, b"", NOW) == Later("HTTP 503", after)


@given(st.binary(max_size=64))
def test_an_answer_that_is_no_message(body: bytes) -> None:
    """Whatever a collector answers, it never throws, and never gives spans back."""
    assert rejected(body) >= 0


@given(st.integers(1, 10**6), st.none() | st.floats(-5, LONGEST), st.floats(0, 1))
def test_a_pause(tries: int, asked: float | None, chance: float) -> None:
    """Never shorter than was asked for, never longer than that and a little; without a wish, at most 5 s."""
    seconds = pause(tries, asked, chance)
    assert 0.0 < seconds <= (5.0 if asked is None else max(0.0, asked) + 0.5)
    assert asked is None or seconds >= asked


def test_pauses_grow() -> None:
    """Twice as long each time until 5 s; the chance takes off up to a half."""
    assert [pause(tries, None, 1.0) for tries in (1, 2, 3, 5, 6, 99)] == [0.2, 0.4, 0.8, 3.2, 5.0, 5.0]
    assert pause(1, None, 0.0) == 0.1
