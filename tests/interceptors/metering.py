"""Settled calls for the tests of metrics, and their readings by the official parser."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from guardhouse.interceptors import Call, Metrics, Refusal
from guardhouse.interceptors.metrics.text import text

INFER = "/inference.GRPCInferenceService/ModelInfer"
METHOD = INFER.removeprefix("/")
MILLISECOND = 1_000_000  # in nanoseconds
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def settled(reason: str = "", guard: str = "", took: int = 3, **facts: Any) -> Call:
    """A call that took 3 ms, 2 of them in the model; or one that *guard* refused for *reason*."""
    call = Call(INFER, (), True, wall_ns=0, opened_ns=1_000, model="digits")
    call.ended_ns = call.opened_ns + took * MILLISECOND
    call.model_ns = 0 if reason else 2 * MILLISECOND
    call.refusal = Refusal(reason) if reason else None
    if call.refusal:
        call.refusal.guard = guard
    call.status = call.refusal.code if call.refusal else StatusCode.OK
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def parsed(page: str) -> Samples:
    """Every sample of *page* by its name and labels, as prometheus_client reads it."""
    found: Samples = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "a series is there twice"
            found[key] = sample.value
    return found


class Page:
    """What *metrics* say now."""

    def __init__(self, metrics: Metrics) -> None:
        self.samples = parsed(text(metrics.read()))

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def series(self, name: str) -> list[dict[str, str]]:
        """The labels of every series called *name*."""
        return [dict(labels) for found, labels in self.samples if found == name]
