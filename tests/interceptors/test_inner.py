"""Spans of code inside a model: through our exporter, with our resource, under our span, whatever is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from guardhouse.interceptors import KeyStore, Policy, guard
from guardhouse.interceptors.record.inner import LONGEST, OUTLETS, Outlets, check, provider
from guardhouse.interceptors.record.parent import OurSpan

from .collectors import PROTOCOLS, receiving
from .serving import serving


class Kept:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.scopes: list[ScopeSpans] = []
        self.lost: list[tuple[int, str]] = []

    def export_scope(self, scope_spans: bytes, count: int) -> None:
        self.scopes.append(ScopeSpans.FromString(scope_spans))
        assert len(self.scopes[-1].spans) == count

    def lose(self, count: int, reason: str) -> None:
        self.lost.append((count, reason))


@pytest.fixture
def kept() -> Kept:
    """A fresh outlet."""
    return Kept()


@pytest.fixture
def tracer(kept: Kept) -> Any:
    """A tracer whose spans go to `kept`."""
    outlets = Outlets()
    outlets.open(kept)
    return provider(Resource({}), outlets).get_tracer("model", "1.0", "https://schema.example/1")


def test_a_span_as_it_was_made(tracer: Any, kept: Kept) -> None:
    """Scope, name, attributes, events and status arrive."""
    with tracer.start_as_current_span("embed", attributes={"tokens": 7}) as span:
        span.add_event("cache", {"hit": True})
    (scope,) = kept.scopes
    (sent,) = scope.spans

    assert (scope.scope.name, scope.scope.version, scope.schema_url) == (
        "model",
        "1.0",
        "https://schema.example/1",
    )
    assert (sent.name, sent.attributes[0].value.int_value, sent.events[0].name) == ("embed", 7, "cache")


def test_a_long_value_is_cut(tracer: Any, kept: Kept) -> None:
    """A prompt put on a span does not fill the queue."""
    tracer.start_span("a", attributes={"prompt": "x" * (LONGEST + 1)}).end()

    assert len(kept.scopes[0].spans[0].attributes[0].value.string_value) == LONGEST


def test_a_span_without_a_form_is_counted(tracer: Any, kept: Kept) -> None:
    """A name that is no Unicode text costs the model nothing, and is counted as lost."""
    tracer.start_span("\ud800").end()
    tracer.start_span("fine").end()

    assert kept.lost == [(1, "unencodable")]
    assert [scope.spans[0].name for scope in kept.scopes] == ["fine"]


def test_outlets_come_and_go(kept: Kept) -> None:
    """A closed one gets nothing more; the others do."""
    outlets, other = Outlets(), Kept()
    tracer = provider(Resource({}), outlets).get_tracer("model")
    tracer.start_span("before").end()
    outlets.open(kept)
    outlets.open(other)
    tracer.start_span("a").end()
    outlets.close(kept)
    tracer.start_span("b").end()

    assert [scope.spans[0].name for scope in kept.scopes] == ["a"]
    assert [scope.spans[0].name for scope in other.scopes] == ["a", "b"]


@pytest.fixture
def no_more() -> Iterator[None]:
    """Sees that a guard leaves no outlet behind."""
    yield
    assert OUTLETS._open == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("colour", ["aio", "sync"])
async def test_through_a_guard(no_more: None, tmp_path: Path, colour: str, protocol: str) -> None:
    """A model that traces with the global API: its span is a child of the call's, and arrives with it."""
    tracer = trace.get_tracer("model")  # made at import, before there was a guard

    async def behave(messages: Any, _context: Any) -> Any:
        async for message in messages:
            with tracer.start_as_current_span("embed"):
                yield message

    everybody = Policy((), (), open_methods=("/test.Echo/unary_unary",))
    KeyStore(tmp_path / "keys.db")
    options: dict[str, Any] = {"certificates": False, "api_keys": tmp_path / "keys.db", "ledger": None}
    with receiving(protocol) as receiver:
        with guard(policy=everybody, spans=receiver.collector(), **options) as chain:
            async with serving(colour, chain, behave) as served:
                outcome = await served.ask("unary_unary", b"x", metadata=())
    scopes = {scope.scope.name: scope for scope in receiver.scopes}
    ours, theirs = scopes["guardhouse"], scopes["model"]

    assert outcome.messages == [b"x"], outcome
    assert theirs.spans[0].parent_span_id == ours.spans[0].span_id
    assert theirs.spans[0].trace_id == ours.spans[0].trace_id
    assert len(receiver.requests[0].resource_spans) == 1


def test_a_span_that_the_application_does_not_sample(kept: Kept) -> None:
    """Recorded for the application's own use, and not meant to leave: it does not leave by us."""
    outlets = Outlets()
    outlets.open(kept)
    ids = trace.SpanContext(1, 1, False, trace.TraceFlags(0))
    outlets.on_end(ReadableSpan("a", context=ids, resource=Resource({})))

    assert (kept.scopes, kept.lost) == ([], [])


def test_the_check_leaves_nothing_behind() -> None:
    """It sends nothing, and the context is what it was."""
    check(Resource({}))
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_our_own_requests_are_not_traced(tmp_path: Path) -> None:
    """An application that traces its gRPC and HTTP calls does not see ours: each would make another."""
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

    from guardhouse.interceptors.record.export import Exporter
    from guardhouse.interceptors.record.export.answers import Taken

    seen: list[object] = []

    class Way:
        def send(self, request: bytes, timeout: float) -> Taken:
            seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return Taken()

        def close(self) -> None:
            """Nothing to close."""

    exporter = Exporter(Way(), b"", delay=0.01)
    exporter.export(b"\x12\x00", 1)
    exporter.close()

    assert seen == [True]
    assert OurSpan.stage is max(type(OurSpan.stage))
