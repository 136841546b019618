"""What calls came to: counts that can be added up, and quantiles of their times to within a twentieth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

STEP: Final = math.log(1.05)
MOST: Final = 510  # classes of times: the last one begins at some 18 hours


def time_class(microseconds: int) -> int:
    """The class of a length of time: 0 up to 1 us, then each ends a twentieth higher than the one before."""
    return min(MOST, math.ceil(math.log(microseconds) / STEP)) if microseconds > 1 else 0


@dataclass(slots=True)
class Tally:
    """Calls, and what they came to. Times in microseconds."""

    calls: int = 0
    refused: int = 0
    units: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    model_us: int = 0
    times: dict[int, int] = field(default_factory=dict)  # class of time -> calls

    def count(self, entry: Mapping[str, Any]) -> None:
        """Count one call, by its ledger entry. What is not a number there counts as none."""
        self.calls += 1
        self.refused += bool(entry.get("reason"))
        self.units += number(entry, "units")
        self.request_bytes += number(entry, "request_bytes")
        self.response_bytes += number(entry, "response_bytes")
        self.model_us += number(entry, "model_us")
        time = time_class(number(entry, "total_us"))
        self.times[time] = self.times.get(time, 0) + 1

    def add(self, other: Tally) -> None:
        """Count the calls of *other*, too."""
        self.calls += other.calls
        self.refused += other.refused
        self.units += other.units
        self.request_bytes += other.request_bytes
        self.response_bytes += other.response_bytes
        self.model_us += other.model_us
        for time, calls in other.times.items():
            self.times[time] = self.times.get(time, 0) + calls

    def quantile(self, share: float) -> int | None:
        """The time that *share* of the calls do not exceed, to a twentieth. None for no calls."""
        rank, seen = math.ceil(share * self.calls), 0
        for each in sorted(self.times):
            seen += self.times[each]
            if seen >= rank:
                return round(math.exp(each * STEP))
        return None


def number(entry: Mapping[str, Any], name: str) -> int:
    """A member of an entry as a whole number, 0 where it is none."""
    value = entry.get(name)
    return value if type(value) is int and value >= 0 else 0
