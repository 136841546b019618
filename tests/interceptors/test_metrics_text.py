"""The page is Prometheus text 0.0.4, and means the same to prometheus_client's parser."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from guardhouse.interceptors import Metrics
from guardhouse.interceptors.metrics import CATALOGUE, Family, Metric, state
from guardhouse.interceptors.metrics.families import Distribution, single
from guardhouse.interceptors.metrics.text import text

from .metering import Page, parsed, settled


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda value: "\r" not in value), st.integers(0), max_size=5)
)
def test_any_label_is_escaped(values: dict[str, int]) -> None:
    """Quotes, backslashes, line feeds and any other character come back as they were."""
    metric = Metric("guardhouse.x", "gauge", "", ("a.b",), 'backslash \\ and "quotes"\nand a line')
    page = text([Family(metric, {(value,): number for value, number in values.items()})])

    assert parsed(page) == {("guardhouse_x", frozenset({("a_b", value)})): values[value] for value in values}


def test_help_is_one_line() -> None:
    """What a metric says is escaped, too."""
    metric = Metric("guardhouse.x", "gauge", "", (), "one \\ line\nand another")
    (family,) = text_string_to_metric_families(text([single(metric, 1)]))

    assert family.documentation == "one \\ line\nand another"


def test_a_histogram_adds_up() -> None:
    """Buckets are cumulative, and end with +Inf, which is the count."""
    metric = Metric("guardhouse.x", "histogram", "s", (), "x", (0.5, 1.0))
    page = text([Family(metric, distributions={(): Distribution((1, 0, 4), 7.25)})])

    assert page.splitlines()[2:] == [
        'guardhouse_x_seconds_bucket{le="0.5"} 1',
        'guardhouse_x_seconds_bucket{le="1.0"} 1',
        'guardhouse_x_seconds_bucket{le="+Inf"} 5',
        "guardhouse_x_seconds_sum 7.25",
        "guardhouse_x_seconds_count 5",
    ]


def test_every_family_has_its_head_and_kind() -> None:
    """HELP, TYPE and the samples of a family stand together, once, in the order of the catalogue."""
    metrics = Metrics()
    metrics.take([settled(), settled("RATE_LIMITED", "rate")])
    metrics.watch(lambda: state.calls(in_flight=3, waiting=1, rate_keys=2))
    heads = [line.split()[2:4] for line in text(metrics.read()).splitlines() if line.startswith("# TYPE")]
    known = [[metric.name, metric.kind] for metric in CATALOGUE]

    assert heads == [each for each in known if each in heads]
    assert len(heads) == 19


def test_spans_are_lost_for_reasons() -> None:
    """Each reason is a series from the start, so that its first loss is a rise."""
    metrics, counts = Metrics(), SimpleNamespace(sent=7, lost={"queue_full": 5}, queued=3, spooled=2)
    metrics.watch(lambda: state.spans(counts, ("queue_full", "shutdown")))
    page = Page(metrics)

    assert page("guardhouse_spans_sent_total") == 7
    assert page("guardhouse_spans_queued") == 3
    assert page("guardhouse_spans_spooled") == 2
    assert page("guardhouse_spans_lost_total", reason="queue_full") == 5
    assert page("guardhouse_spans_lost_total", reason="shutdown") == 0
