"""Prometheus text, exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from .catalogue import Metric
from .families import Distribution, Family, Labels

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_IN_LABELS = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def text(families: Iterable[Family]) -> str:
    """*families* as one page. A metric without points has its head alone."""
    return "".join(line + "\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    metric = family.metric
    yield f"# HELP {metric.name} {metric.words.translate(_IN_HELP)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, number in family.numbers.items():
        yield f"{metric.name}{_braced(_pairs(metric, labels))} {number}"
    for labels, distribution in family.distributions.items():
        yield from _histogram(metric, _pairs(metric, labels), distribution)


def _histogram(metric: Metric, pairs: str, distribution: Distribution) -> Iterator[str]:
    head = f"{metric.name}_bucket{{{pairs}{',' if pairs else ''}le="
    sums = tuple(accumulate(distribution.counts))
    for bound, count in zip((*metric.bounds, "+Inf"), sums, strict=True):
        yield f'{head}"{bound}"}} {count}'
    yield f"{metric.name}_sum{_braced(pairs)} {distribution.total}"
    yield f"{metric.name}_count{_braced(pairs)} {sums[-1]}"


def _pairs(metric: Metric, labels: Labels) -> str:
    """The labels, those without a value left out: to Prometheus both are the same."""
    return ",".join(
        f'{name.replace(".", "_")}="{value.translate(_IN_LABELS)}"'
        for name, value in zip(metric.labels, labels, strict=True)
        if value
    )


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""
