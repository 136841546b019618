"""`guard(metrics=...)` around somebody's own server, of either colour: what it shows of its parts."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from guardhouse.interceptors import KeyStore, Ledger, Metrics, guard
from guardhouse.interceptors.metrics import CATALOGUE, state

from .metering import Page
from .serving import SERVICE, serving

POLICY = f"""\
roles:
  user:
    allow: [{{methods: ["{SERVICE}/unary_unary"]}}]
    limits: {{rate: 10/s, burst: 10}}
bindings: [{{role: user, api_key: me}}]
"""
METHOD = f"{SERVICE}/unary_unary"


@pytest.fixture
def metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[str, str], ...]:
    """The present folder has a policy and a key; what its holder sends."""
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(POLICY)
    key = KeyStore(Path("keys.db")).create("me", now=time.time())
    return (("authorization", f"Bearer {key}"),)


def _lines() -> int:
    return Path("ledger/ledger.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("colour", ["aio", "sync"])
async def test_a_server_of_ones_own_is_measured(metadata: tuple[tuple[str, str], ...], colour: str) -> None:
    """Calls and refusals by the server's own methods; ledger, limiter and calls in flight beside them."""
    metrics = Metrics()
    settings = {"policy": "policy.yaml", "ledger": "ledger", "api_keys": "keys.db", "certificates": False}
    with guard(**settings, metrics=metrics) as chain:
        async with serving(colour, chain) as server:
            await server.ask("unary_unary", b"x", metadata=metadata)
            await server.ask("unary_unary", b"x", metadata=())
            await server.ask("unary_stream", b"x", metadata=metadata)
    page = Page(metrics)

    assert page("guardhouse_calls_total", method=METHOD, status="OK") == 1
    assert page("guardhouse_calls_total", method=METHOD, status="UNAUTHENTICATED") == 1
    assert page("guardhouse_refusals_total", guard="token", reason="TOKEN_MISSING") == 1
    assert page("guardhouse_refusals_total", guard="authorization", reason="METHOD_DENIED") == 1
    assert page("guardhouse_rate_keys") == 1
    assert page("guardhouse_calls_in_flight") == 0
    assert page("guardhouse_ledger_lines_total") == _lines()
    assert page("guardhouse_ledger_lag_lines") == 0


async def test_without_a_ledger_and_spans_nothing_is_told_of_them(
    metadata: tuple[tuple[str, str], ...],
) -> None:
    """A part that is not there has no series: 0 would be a lie."""
    metrics = Metrics()
    with guard(policy="policy.yaml", ledger=None, api_keys="keys.db", metrics=metrics):
        names = {family.metric.name for family in metrics.read()}

    assert {metric.name for metric in CATALOGUE} - names == {
        *(metric.name for metric in CATALOGUE if ".ledger." in metric.otlp or ".spans." in metric.otlp),
        "guardhouse_metrics_pushes_total",
    }


async def test_a_guard_made_anew_has_one_series(metadata: tuple[tuple[str, str], ...]) -> None:
    """Metrics that outlive a guard tell of the new one's ledger, not of both under one name."""
    metrics = Metrics()
    settings = {"policy": "policy.yaml", "ledger": "ledger", "api_keys": "keys.db", "certificates": False}
    for _ in range(2):
        with guard(**settings, metrics=metrics):
            pass
    told = [family.metric.name for family in metrics.read()]

    assert len(told) == len(set(told))
    assert Page(metrics)("guardhouse_ledger_sequence") == _lines()


def test_a_ledger_that_cannot_write_is_not_healthy(tmp_path: Path) -> None:
    """0 while the disk refuses, with the lines that wait; 1 once they are written."""
    full = False

    def fsync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    book = Ledger(tmp_path, fsync=fsync)
    metrics = Metrics()
    metrics.watch(lambda: state.ledger(book))
    full = True
    assert not book.wait(book.append({"kind": "query"}), 20)
    troubled = Page(metrics)
    full = False
    book.close()
    well = Page(metrics)

    assert troubled("guardhouse_ledger_healthy") == 0
    assert troubled("guardhouse_ledger_lag_lines") >= 1
    assert (well("guardhouse_ledger_healthy"), well("guardhouse_ledger_lag_lines")) == (1, 0)


async def test_the_snippet_of_the_document_runs(metadata: tuple[tuple[str, str], ...]) -> None:
    """docs/metrics.md, as it stands, in a folder with the files that it names."""
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found: dict[str, object] = {}
    exec(snippet.replace("127.0.0.1:4317", "127.0.0.1:1"), found)
    metrics = found["metrics"]

    assert isinstance(metrics, Metrics)
    assert Page(metrics)("guardhouse_metrics_pushes_total", outcome="failed") == 1
