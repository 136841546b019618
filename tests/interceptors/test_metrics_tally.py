"""Calls are counted once, under registered names alone, whatever callers send."""

from __future__ import annotations

import threading

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Metrics, Principal, Refusal
from guardhouse.interceptors.metrics import tally
from guardhouse.interceptors.metrics.catalogue import FINE, STANDARD
from guardhouse.interceptors.usage import Usage

from .metering import INFER, METHOD, MILLISECOND, Page, settled


def test_a_call_is_counted_under_its_names() -> None:
    """Method, model and status; bytes, units and times beside them."""
    metrics = Metrics({"digits"})
    metrics.take([settled(units=3, request_bytes=300, response_bytes=40, queue_ns=MILLISECOND // 2)] * 2)
    page = Page(metrics)

    assert page("guardhouse_calls_total", method=METHOD, model="digits", status="OK") == 2
    assert page("guardhouse_units_total", model="digits") == 6
    assert page("guardhouse_request_bytes_total", method=METHOD) == 600
    assert page("guardhouse_response_bytes_total", method=METHOD) == 80
    assert page("guardhouse_model_duration_seconds_sum", model="digits") == pytest.approx(0.004)
    assert page("guardhouse_queue_duration_seconds_sum", model="digits") == pytest.approx(0.001)
    assert page("guardhouse_chain_duration_seconds_sum") == pytest.approx(0.001)
    assert page.series("guardhouse_refusals_total") == []


def test_tokens_are_counted_as_models_tell_them() -> None:
    """By model, in both directions; a model that tells none has none."""
    metrics = Metrics({"digits", "llm"})
    metrics.take(
        [settled(), settled(model="llm", usage=Usage(12, 340)), settled(model="llm", usage=Usage(1))]
    )
    page = Page(metrics)

    assert page("guardhouse_input_tokens_total", model="llm") == 13
    assert page("guardhouse_output_tokens_total", model="llm") == 340
    assert page("guardhouse_input_tokens_total", model="digits") == 0


def test_calls_are_counted_whose_limits_were_decided_without_their_store() -> None:
    """By model; a call of several such limits counts once."""
    metrics = Metrics({"digits"})
    metrics.take([settled(), settled(degraded="analyst"), settled(degraded="analyst all")])

    assert Page(metrics)("guardhouse_degraded_total", model="digits") == 2


def test_a_refusal_is_counted_by_guard_and_reason() -> None:
    """Also among the calls, with its status; and no model has spent time on it."""
    metrics = Metrics({"digits"})
    metrics.take([settled("RATE_LIMITED", "rate"), settled("RATE_LIMITED", "rate"), settled()])
    page = Page(metrics)

    assert page("guardhouse_refusals_total", guard="rate", reason="RATE_LIMITED") == 2
    assert page("guardhouse_calls_total", method=METHOD, model="digits", status="RESOURCE_EXHAUSTED") == 2
    assert page("guardhouse_model_duration_seconds_count", model="digits") == 1
    assert page("guardhouse_chain_duration_seconds_count") == 3


def test_duration_follows_the_conventions() -> None:
    """As RPC semantic conventions v1.45 have it: `error.type` on failures of the server alone."""
    metrics = Metrics()
    metrics.take([settled(), settled("METHOD_DENIED", "authorization"), settled("MODEL_FAILED")])
    name = "rpc_server_call_duration_seconds_count"

    assert Page(metrics).series(name) == [
        {"rpc_system_name": "grpc", "rpc_method": METHOD, "rpc_status_code": "OK"},
        {"rpc_system_name": "grpc", "rpc_method": METHOD, "rpc_status_code": "PERMISSION_DENIED"},
        {
            "rpc_system_name": "grpc",
            "rpc_method": METHOD,
            "rpc_status_code": "INTERNAL",
            "error_type": "INTERNAL",
        },
    ]


@pytest.mark.parametrize(
    ("bounds", "metric"), [(STANDARD, "rpc_server_call_duration"), (FINE, "guardhouse_chain_duration")]
)
def test_a_bound_belongs_to_its_bucket(bounds: tuple[float, ...], metric: str) -> None:
    """One observation at each bound, and one a nanosecond above it: `le` is less or equal."""
    metrics = Metrics()
    for bound in bounds:
        for more in (0, 1):
            metrics.take([settled(model_ns=0, opened_ns=0, ended_ns=round(bound * 1e9) + more)])
    samples = Page(metrics).samples
    found = {
        float(dict(labels)["le"]): count
        for (name, labels), count in samples.items()
        if name == f"{metric}_seconds_bucket"
    }
    wanted = {bound: 2 * place + 1 for place, bound in enumerate(bounds)}

    assert found == {**wanted, float("inf"): 2 * len(bounds)}


def test_a_status_that_a_handler_chose_is_its_own() -> None:
    """HANDLER has many statuses; each is counted by itself."""
    metrics = Metrics()
    for code in (Code.NOT_FOUND, Code.ABORTED, Code.ABORTED):
        call = settled(model="")
        call.refusal, call.status = Refusal("HANDLER", code=code), code
        metrics.take([call])
    page = Page(metrics)

    assert page("guardhouse_calls_total", method=METHOD, status="NOT_FOUND") == 1
    assert page("guardhouse_calls_total", method=METHOD, status="ABORTED") == 2
    assert page("guardhouse_refusals_total", reason="HANDLER") == 3


def test_a_million_strangers_add_no_series() -> None:
    """10^6 calls, each of a principal, model and method of its own, make no line that three did not."""
    metrics = Metrics({"digits"})
    kinds = ({"known": False}, {"known": False, "model": ""}, {"known": True, "method": INFER})

    def strangers(first: int, count: int) -> None:
        for number in range(first, first + count):
            facts = {"method": f"/s/m{number}", "model": f"m{number}", **kinds[number % 3]}
            call.principal, call.version = Principal(f"p{number}"), f"v{number}"
            for key, value in facts.items():
                setattr(call, key, value)
            metrics.take([call])

    call = settled("MODEL_DENIED", "model_authorization")
    strangers(0, 3)
    series = Page(metrics).samples.keys()
    strangers(3, 999_997)
    page = Page(metrics)

    assert page.samples.keys() == series
    assert page("guardhouse_chain_duration_seconds_count") == 1_000_000
    assert {each["model"] for each in page.series("guardhouse_units_total") if each} == {"_OTHER"}


def test_a_handler_of_any_path_adds_no_series_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generic handler makes every path a known method: past a ceiling they are counted together."""
    monkeypatch.setattr(tally, "MOST_CELLS", 10)
    metrics = Metrics()
    for number in range(100):
        metrics.take([settled(method=f"/any/M{number}", model="")])
    page = Page(metrics)

    assert len(page.series("guardhouse_calls_total")) == 11
    assert page("guardhouse_calls_total", method="_OTHER", model="_OTHER", status="OK") == 90


def test_nothing_is_named_as_a_stranger_likes() -> None:
    """What is not served is `_OTHER`, a method that is called so included; none is served by that name."""
    metrics = Metrics({"digits"})
    metrics.take([settled(known=False, method="/_OTHER"), settled(known=False, method='x\n"{}', model='a"')])

    assert Page(metrics).series("guardhouse_calls_total") == [
        {"method": "_OTHER", "model": "digits", "status": "OK"},
        {"method": "_OTHER", "model": "_OTHER", "status": "OK"},
    ]


def test_threads_lose_no_call() -> None:
    """A `grpc.server` records from many threads at once."""
    metrics = Metrics({"digits"})
    threads = [
        threading.Thread(target=lambda: [metrics.take([settled()]) for _ in range(3000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Page(metrics)("guardhouse_calls_total", method=METHOD, model="digits", status="OK") == 24_000
