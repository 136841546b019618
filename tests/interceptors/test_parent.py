"""The context that a call's code runs in: our span, for everybody who asks, and nothing for who does not."""

from __future__ import annotations

import contextvars
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.trace import TracerProvider

from guardhouse.interceptors import Call, Chain, Policy, Principal
from guardhouse.interceptors.record import parent as module
from guardhouse.interceptors.record.parent import OurSpan, Parent
from guardhouse.interceptors.record.spans import Spans

from .serving import COLOURS, SHAPES, TOKEN, Watch, serving

TRACE, SPAN = 0xAB << 100, 0xCD << 40


def _call() -> Call:
    return Call("/a/b", (), True, 1, 1, trace_id=TRACE, span_id=SPAN)


@pytest.fixture
def attached() -> Iterator[Parent]:
    """The context of a call, attached."""
    parent = Parent(_call())
    token = context.attach(parent)
    yield parent
    context.detach(token)


def _ids(span: Any) -> tuple[int, int]:
    ids = span.get_span_context()
    return ids.trace_id, ids.span_id


def test_the_current_span_is_ours(attached: Parent) -> None:
    """As every part of the API sees it: valid, sampled, of this process, and not to be written to."""
    span = trace.get_current_span()
    ids = span.get_span_context()

    assert _ids(span) == (TRACE, SPAN)
    assert (ids.is_valid, ids.is_remote, ids.trace_flags.sampled, span.is_recording()) == (
        True,
        False,
        True,
        False,
    )
    assert trace.get_current_span() is span


def test_children_are_ours(attached: Parent) -> None:
    """A span without a context, and one of a context made from it, have our span as their parent."""
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("a") as first, tracer.start_as_current_span("b") as second:
        assert (_ids(first)[0], _ids(second)[0]) == (TRACE, TRACE)
        assert first.parent.span_id == SPAN  # type: ignore[attr-defined] # the SDK's
        assert second.parent.span_id == _ids(first)[1]  # type: ignore[attr-defined] # the SDK's
    assert trace.get_current_span() is attached.get(next(iter(attached)))


def test_other_values_go_on_top(attached: Parent) -> None:
    """`set_value` and `attach` keep our span and add their own; ours stays as it was."""
    token = context.attach(context.set_value("k", "v"))
    assert (context.get_value("k"), _ids(trace.get_current_span())) == ("v", (TRACE, SPAN))
    context.detach(token)
    assert context.get_value("k") is None
    assert len(attached) == 1


def test_it_is_handed_on(attached: Parent) -> None:
    """A request of the model's to somebody else says `traceparent` with our ids."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)

    assert carrier == {"traceparent": f"00-{TRACE:032x}-{SPAN:016x}-01"}


def test_nothing_comes_in_from_outside() -> None:
    """Baggage, or another span, that was current before is not what the model sees."""
    outer = context.attach(baggage.set_baggage("user", "eve"))
    inner = context.attach(Parent(_call()))
    assert dict(baggage.get_all()) == {}
    context.detach(inner)
    context.detach(outer)


WAYS: dict[str, Any] = {
    "get": lambda made: _ids(made.get(made_key())),
    "index": lambda made: _ids(made[made_key()]),
    "in": lambda made: made_key() in made,
    "iter": list,
    "reversed": lambda made: list(reversed(made)),
    "len": len,
    "keys": lambda made: list(made.keys()),
    "values": lambda made: list(map(_ids, made.values())),
    "items": lambda made: [(key, _ids(value)) for key, value in made.items()],
    "copy": lambda made: list(made.copy()),
    "dict": lambda made: list(dict(made)),
    "Context": lambda made: list(Context(made)),
    "unpacked": lambda made: list({**made}),
    "or": lambda made: list(made | {"k": 1}),
    "ror": lambda made: list({"k": 1} | made),
    "bool": bool,
    "repr": lambda made: bool(repr(made) != "{}"),
    "equal": lambda made: made == made.copy(),
    "unequal": lambda made: made != Context(),
}


def made_key() -> str:
    """The key that the API keeps its current span under."""
    return next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))


def _plain() -> Context:
    ids = trace.SpanContext(TRACE, SPAN, False, trace.TraceFlags(1))
    return trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_reads_like_any_context(way: Any) -> None:
    """Whatever way a fresh one is read first, it says what an eager one would."""
    assert way(Parent(_call())) == way(_plain())


@pytest.mark.parametrize("verb", ["clear", "pop", "popitem", "setdefault", "update"])
def test_nobody_changes_it(verb: str) -> None:
    """It is as fixed as any context."""
    with pytest.raises(ValueError):  # noqa: PT011 - the API says no more
        getattr(Parent(_call()), verb)(*(["k"] if verb in {"pop", "setdefault"} else []))
    with pytest.raises(ValueError):  # noqa: PT011 - likewise
        Parent(_call())["k"] = 1


def test_a_call_that_nobody_asks_about_makes_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span is made when it is asked for, and once."""
    made: list[int] = []
    real = module.NonRecordingSpan
    monkeypatch.setattr(module, "NonRecordingSpan", lambda ids: made.append(1) or real(ids))
    token = context.attach(Parent(_call()))
    before = len(made)
    trace.get_current_span()
    trace.get_current_span()
    context.detach(token)

    assert (before, len(made)) == (0, 1)


def test_it_lets_go_of_the_call() -> None:
    """Once the span is made, a task that outlives the call does not keep all that the call held."""
    call = _call()
    parent = Parent(call)
    len(parent)
    assert not any(isinstance(each, Call) for each in gc.get_referents(parent))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
async def test_in_every_shell(colour: str, shape: str) -> None:
    """In all shapes and colours the handler's current span is its own call's, call after call."""
    seen: list[int] = []

    async def behave(messages: Any, _context: Any) -> Any:
        async for message in messages:
            seen.append(trace.get_current_span().get_span_context().trace_id)
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch, OurSpan()), behave) as served:
        for number in range(3):
            await served.ask(shape, b"x", metadata=TOKEN)
            await watch.wait(number + 1)

    assert seen == [call.trace_id for call in watch.calls]
    assert len(set(seen)) == 3
    assert trace.get_current_span() is trace.INVALID_SPAN


PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
TRUSTING = Policy.parse(
    """
roles:
  mesh: {continue_traces: true, allow: [{methods: [ModelInfer], models: ["*"]}]}
  plain: {allow: [{methods: [ModelInfer], models: ["*"]}]}
bindings:
  - {role: mesh, subject: gateway}
  - {role: plain, subject: alice}
"""
)


def _trace_inside(call: Call) -> int:
    OurSpan().admit(call)
    return trace.get_current_span().get_span_context().trace_id


@pytest.mark.parametrize(
    ("subject", "sent", "goes_on"),
    [
        ("gateway", (PARENT,), True),
        ("gateway", (), False),
        ("gateway", ("garbage",), False),
        ("gateway", (PARENT, PARENT), False),
        ("alice", (PARENT,), False),
    ],
)
def test_whose_trace_goes_on(subject: str, sent: tuple[str, ...], goes_on: bool) -> None:
    """The trace of a caller whom the policy trusts goes on in ours; every other one is linked to at most."""
    spans: list[bytes] = []
    call = _call()
    call.metadata = tuple(("traceparent", value) for value in sent)
    call.grant = TRUSTING.grant(Principal(subject, subject=subject))
    inside = contextvars.copy_context().run(_trace_inside, call)
    Chain().settle(call, None)
    Spans(lambda raw, _count: spans.append(raw)).take([call])
    (span,) = ScopeSpans.FromString(spans[0]).spans

    assert (inside == int("ab" * 16, 16)) == goes_on
    assert (span.trace_id.hex() == "ab" * 16) == goes_on
    assert span.parent_span_id.hex() == ("cd" * 8 if goes_on else "")
    assert len(span.links) == (not goes_on and sent == (PARENT,))
