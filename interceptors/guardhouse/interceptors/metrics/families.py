"""What a reading of the metrics is: plain values, the same for every format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .catalogue import Metric

Labels = tuple[str, ...]  # one value for each label of the metric, in its order


class Distribution(NamedTuple):
    """Observations of a histogram.

    Attributes:
        counts: How many in each bucket, not added up; one more than there are bounds.
        total: The sum of all, in seconds.
    """

    counts: tuple[int, ...]
    total: float


class Family(NamedTuple):
    """A metric and its points: numbers, or a `Distribution` for each if it is a histogram."""

    metric: Metric
    numbers: Mapping[Labels, float] = {}
    distributions: Mapping[Labels, Distribution] = {}


def single(metric: Metric, number: float) -> Family:
    """The only number of a *metric* without labels."""
    return Family(metric, {(): number})


def merged(parts: Sequence[Distribution]) -> Distribution:
    """All observations of *parts*, which have the same bounds."""
    counts = tuple(map(sum, zip(*(part.counts for part in parts), strict=True)))
    return Distribution(counts, sum(part.total for part in parts))
