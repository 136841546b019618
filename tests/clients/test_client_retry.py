"""When a call is tried again: the decision by a table, and the steps of a call, with no time passing."""

from typing import Any

import grpc
import pytest
from grpc import StatusCode

from guardhouse.clients import DeadlineExceeded, GuardhouseError, RateLimited, Unavailable
from guardhouse.clients.calls import Answer, Calls, Send, Wait
from guardhouse.clients.retry import wait
from guardhouse.protos import inference_pb2 as pb

# retry_after, attempt, most, remaining, chance -> wait
TABLE: list[tuple[float | None, int, int, float, float, float | None]] = [
    (None, 1, 3, 30, 0, None),
    (2, 1, 3, 30, 0, 2),
    (2, 2, 3, 30, 0, 2),
    (2, 3, 3, 30, 0, None),
    (2, 1, 1, 30, 0, None),
    (2, 1, 3, 2, 0, None),
    (2, 1, 3, 2.1, 0, 2),
    (2, 1, 3, 30, 0.5, 2.2),
    (2, 1, 3, 2.1, 0.99, None),
    (0, 1, 3, 30, 0.9, 0),
    (3600, 1, 3, 30, 0, None),
]


@pytest.mark.parametrize(("retry_after", "attempt", "most", "remaining", "chance", "wanted"), TABLE)
def test_the_server_decides_within_limits(
    retry_after: float | None, attempt: int, most: int, remaining: float, chance: float, wanted: float | None
) -> None:
    """A retry takes the server's word, an attempt left, and a wait that ends before the deadline."""
    error = GuardhouseError("", retry_after=retry_after)
    assert wait(error, attempt, most, remaining, chance) == wanted


class Failure(grpc.RpcError):
    """What grpc raises for a call that failed."""

    def __init__(self, code: StatusCode, *trailers: tuple[str, Any]) -> None:
        self._code, self._trailers = code, trailers

    def code(self) -> StatusCode:
        return self._code

    def details(self) -> str:
        return "words"

    def trailing_metadata(self) -> Any:
        return self._trailers


LATER = Failure(StatusCode.RESOURCE_EXHAUSTED, ("grpc-retry-pushback-ms", "4000"))
LIVE = Answer(pb.ServerLiveResponse(live=True), ())


def run(outcomes: list[Any], *, timeout: float = 10.0, latency: float = 1.0) -> tuple[Any, list[Any]]:
    """Run `live` with an outcome for each RPC, each of which takes a second; return the end and the steps."""
    now, steps = [0.0], []
    calls = Calls(lambda: "", timeout, 3, lambda: now[0], lambda: 0.0)
    flow = calls.live()
    try:
        step = next(flow)
        while True:
            steps.append((type(step).__name__, step.timeout if isinstance(step, Send) else step.seconds))
            now[0] += latency if isinstance(step, Send) else step.seconds
            outcome = None if isinstance(step, Wait) else outcomes.pop(0)
            step = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
    except StopIteration as done:
        return done.value, steps
    except GuardhouseError as error:
        return error, steps


def test_a_call_waits_as_told_and_then_succeeds() -> None:
    """After a refusal with pushback comes the wait it asks for, and an attempt with the time that is left."""
    assert run([LATER, LIVE]) == (True, [("Send", 10.0), ("Wait", 4.0), ("Send", 5.0)])


def test_the_deadline_bounds_all_attempts() -> None:
    """A wait that would end after the deadline is not begun: the refusal is raised at once."""
    end, steps = run([LATER, LATER, LIVE])
    assert isinstance(end, RateLimited)
    assert end.retry_after == 4.0
    assert steps == [("Send", 10.0), ("Wait", 4.0), ("Send", 5.0)]


def test_three_attempts_are_the_most() -> None:
    """However much time there is, the third refusal is the last."""
    end, steps = run([LATER, LATER, LATER, LIVE], timeout=1000.0)
    assert isinstance(end, RateLimited)
    assert [name for name, _ in steps] == ["Send", "Wait", "Send", "Wait", "Send"]


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED])
def test_nothing_is_tried_again_uninvited(code: StatusCode) -> None:
    """Without the server's word even UNAVAILABLE is final: the query may have been counted."""
    end, steps = run([Failure(code), LIVE])
    assert isinstance(end, GuardhouseError)
    assert (end.code, len(steps)) == (code, 1)


def test_a_failure_after_an_invitation_is_final() -> None:
    """The second attempt's own failure is the one that is raised."""
    end, _ = run([LATER, Failure(StatusCode.UNAVAILABLE)])
    assert isinstance(end, Unavailable)


def test_a_wait_that_overruns_sends_nothing_more() -> None:
    """Where the clock passed the deadline while waiting, the call ends with DeadlineExceeded."""
    now = iter([0.0, 0.0, 1.0, 99.0])
    calls = Calls(lambda: "", 10.0, 3, lambda: next(now), lambda: 0.0)
    flow = calls.live()
    assert isinstance(next(flow), Send)
    assert isinstance(flow.throw(LATER), Wait)
    with pytest.raises(DeadlineExceeded, match="has passed"):
        flow.send(None)
