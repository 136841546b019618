"""Our own cap on the time of a call."""

from __future__ import annotations

import pytest

from guardhouse.interceptors import Call, Refusal
from guardhouse.interceptors.deadline import Deadline
from guardhouse.interceptors.shells.shapes import late, overdue


def _call(remaining: float | None) -> Call:
    return Call("/s/m", (), True, 0, 0, remaining=remaining)


@pytest.mark.parametrize(
    ("remaining", "patience"), [(None, 10.0), (1e9, 10.0), (10.1, 10.0), (10.0, None), (0.1, None)]
)
def test_the_sooner_of_two_deadlines(remaining: float | None, patience: float | None) -> None:
    """Ours counts where the caller gave none or a later one; its own is grpc's to keep."""
    call = _call(remaining)
    Deadline(10.0).admit(call)

    assert call.patience == patience


@pytest.mark.parametrize("remaining", [0.0, -1.0])
def test_late_on_arrival(remaining: float) -> None:
    """A call whose time is up is refused before anybody works for it."""
    with pytest.raises(Refusal) as refused:
        Deadline(10.0).admit(_call(remaining))

    assert refused.value.reason == "DEADLINE_EXCEEDED"


def test_overdue() -> None:
    """A call is overdue when it has taken longer than we give it, and never without a limit."""
    call = _call(None)  # opened at the start of the monotonic clock
    assert not overdue(call)
    call.patience = 1e-9
    assert overdue(call)
    call.patience = 1e12
    assert not overdue(call)


@pytest.mark.parametrize(
    ("given", "left", "expected"),
    [
        (None, None, False),
        (5.0, 0.0, True),
        (5.0, 0.06, True),  # rounded up to 10 ms on the wire
        (5.0, 1.0, False),
        (60.0, 0.6, True),  # rounded up to a tenth of a second and more
        (60.0, 3.0, False),
        (0.1, 0.05, False),
    ],
)
def test_what_ended_a_call(given: float | None, left: float | None, expected: bool) -> None:
    """A deadline is rounded up on its way here, so a call that ends a hundredth early ended by it."""
    assert late(given, left) is expected
