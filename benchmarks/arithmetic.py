"""The arithmetic of the benchmark: nothing here measures anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

Figures = Mapping[str, float]  # cpu_us, per_second, p50_ms, p99_ms, spans, calls


def percentile(values: Sequence[float], percent: int) -> float:
    """The least of *values* that at least *percent* of them do not exceed (nearest rank).

    Raises:
        ValueError: There are no values, or *percent* is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(values)} values")
    return sorted(values)[-(-percent * len(values) // 100) - 1]


def ratios(base: Figures, own: Figures) -> dict[str, float]:
    """One measurement against the one of its base beside it.

    `cpu` and `calls` are better the higher they are: of CPU it is the base's over one's own. `p50` and `p99`
    are better the lower they are.
    """
    return {
        "cpu": base["cpu_us"] / own["cpu_us"],
        "calls": own["per_second"] / base["per_second"],
        "p50": own["p50_ms"] / base["p50_ms"],
        "p99": own["p99_ms"] / base["p99_ms"],
    }


def summary(pairs: Sequence[tuple[Figures, Figures]]) -> dict[str, object]:
    """One row: medians of what was measured; against the base, medians with the least and the greatest.

    `over_us` is the processor time of a call beyond the base's, in microseconds.

    Args:
        pairs: (base, own) of every round.
    """
    owns = [own for _, own in pairs]
    each = [ratios(base, own) for base, own in pairs]
    medians = {key: round(median(own[key] for own in owns), 3) for key in MEASURED}
    return {
        **medians,
        "over_us": _spread([own["cpu_us"] - base["cpu_us"] for base, own in pairs]),
        "ratios": {key: _spread([one[key] for one in each]) for key in each[0]},
        "spans": round(sum(own["spans"] for own in owns)),
        "calls": round(sum(own["calls"] for own in owns)),
    }


MEASURED = ("cpu_us", "per_second", "p50_ms", "p99_ms")


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in (median(values), min(values), max(values))]
