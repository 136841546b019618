"""What is counted of calls that have all their labels in common."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from guardhouse.interceptors.call import Call

from .catalogue import FINE, STANDARD
from .families import Distribution

NANO: Final = 1_000_000_000


def nanoseconds(bounds: tuple[float, ...]) -> tuple[int, ...]:
    """*bounds* in the unit of a call's times."""
    return tuple(round(bound * NANO) for bound in bounds)


STANDARD_NS: Final = nanoseconds(STANDARD)
FINE_NS: Final = nanoseconds(FINE)


class Times:
    """A histogram that grows, in nanoseconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def add(self, took: int) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, took)] += 1
        self.total += took

    def read(self) -> Distribution:
        """All observations until now, in seconds."""
        return Distribution(tuple(self.counts), self.total / NANO)


class Cell:
    """Counts of the calls of one method and model that ended in one way."""

    __slots__ = (
        *("calls", "degraded", "input_tokens", "model", "output_tokens", "queue"),
        *("request_bytes", "response_bytes", "took", "units"),
    )

    def __init__(self) -> None:
        self.calls = self.units = self.request_bytes = self.response_bytes = 0
        self.input_tokens = self.output_tokens = self.degraded = 0
        self.took, self.model, self.queue = Times(STANDARD_NS), Times(FINE_NS), Times(FINE_NS)

    def add(self, call: Call) -> None:
        """Count a settled *call*. One that never got as far as the handler has no time in it."""
        self.calls += 1
        self.units += call.units
        self.request_bytes += call.request_bytes
        self.response_bytes += call.response_bytes
        if call.degraded:
            self.degraded += 1
        if call.usage is not None:
            self.input_tokens += call.usage.input
            self.output_tokens += call.usage.output
        self.took.add(call.ended_ns - call.opened_ns)
        if call.model_ns:
            self.model.add(call.model_ns)
            self.queue.add(call.queue_ns)
