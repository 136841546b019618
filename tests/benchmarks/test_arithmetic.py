"""Percentiles, ratios and their spread, by tables."""

from __future__ import annotations

import pytest

from benchmarks.arithmetic import percentile, ratios, summary


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([2.0, 1.0], 50, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 51, 3.0),
        ([4.0, 3.0, 2.0, 1.0], 100, 4.0),
        (list(map(float, range(1, 101))), 99, 99.0),
        (list(map(float, range(1, 1001))), 99, 990.0),
        (list(map(float, range(1, 1000))), 99, 990.0),
    ],
)
def test_percentile(values: list[float], percent: int, found: float) -> None:
    """The nearest rank: a value that was measured, never one between two."""
    assert percentile(values, percent) == found


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_no_percentile(values: list[float], percent: int) -> None:
    """Of nothing there is none, nor one beyond the ends."""
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def figures(cpu: float, calls: float, p50: float, p99: float, spans: int = 0) -> dict[str, float]:
    """One measurement of ten calls."""
    return {"cpu_us": cpu, "per_second": calls, "p50_ms": p50, "p99_ms": p99, "spans": spans, "calls": 10}


def test_ratios() -> None:
    """Twice the processor time is a CPU ratio of a half; twice the latency a ratio of two."""
    found = ratios(figures(100, 4000, 2, 5), figures(200, 3000, 4, 15))
    assert found == {"cpu": 0.5, "calls": 0.75, "p50": 2.0, "p99": 3.0}


def test_the_summary_is_of_ratios_not_a_ratio_of_medians() -> None:
    """Each round's ratio counts: a machine that is slow for a whole round changes none of them."""
    rounds = [
        (figures(100, 4000, 2, 4), figures(125, 3000, 3, 8, 10)),
        (figures(400, 1000, 8, 16), figures(500, 750, 12, 32, 9)),  # everything four times as slow
        (figures(100, 4000, 2, 4), figures(100, 4000, 2, 6, 10)),
    ]
    found = summary(rounds)
    assert found["ratios"] == {
        "cpu": [0.8, 0.8, 1.0],
        "calls": [0.75, 0.75, 1.0],
        "p50": [1.5, 1.0, 1.5],
        "p99": [2.0, 1.5, 2.0],
    }
    assert found["over_us"] == [25, 0, 100]
    assert (found["cpu_us"], found["per_second"], found["p50_ms"], found["p99_ms"]) == (125, 3000, 3, 8)
    assert (found["spans"], found["calls"]) == (29, 30)
