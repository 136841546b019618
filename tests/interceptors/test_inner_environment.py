"""Spans of code inside a model, whatever the environment and the application have set: sent, or refused."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

CHILD = """
    import sys
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.context import attach
    {before}
    from guardhouse.interceptors.call import Call
    from guardhouse.interceptors.record import inner
    from guardhouse.interceptors.record.collector import TracingError
    from guardhouse.interceptors.record.parent import Parent
    from opentelemetry import trace
    class Out:
        def export_scope(self, scope, count): print("sent", count)
        def lose(self, count, reason): print("lost", count)
    try:
        inner.install(Out(), Resource({{}}))
    except TracingError as error:
        sys.exit(f"refused: {{error}}")
    attach(Parent(Call("", (), True, 0, 0, trace_id=5, span_id=6)))
    with trace.get_tracer("model").start_as_current_span("a", attributes={{"k": "v" * 50, "l": 1}}) as span:
        print(getattr(getattr(span, "parent", None), "span_id", None), len(getattr(span, "attributes", ())))
"""


def _child(before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """What becomes of one span of a model's in a process with *environment*."""
    code = textwrap.dedent(CHILD).format(before=before)
    whole = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | environment
    return subprocess.run(
        [sys.executable, "-c", code], env=whole, capture_output=True, text=True, check=False
    )


BLINDING = {
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_TRACES_SAMPLER_ARG": "0",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "0",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "0",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "0",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
    "OTEL_PROPAGATORS": "no_such_thing",
    "OTEL_PYTHON_CONTEXT": "no_such_context",
    "OTEL_PYTHON_TRACER_PROVIDER": "default_tracer_provider",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
}


def test_the_environment_does_not_blind_it() -> None:
    """With every variable set that could hide, cut or divert a span, it is sent, whole, under our span."""
    done = _child(**BLINDING)
    assert done.stdout.split() == ["6", "2", "sent", "1"], done.stderr


def test_one_that_does_is_refused() -> None:
    """OTEL_SDK_DISABLED leaves nothing to record: we do not start, and say which variables there are."""
    done = _child(OTEL_SDK_DISABLED="true", OTEL_TRACES_SAMPLER="always_off")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: spans of code inside models would be lost: none comes out; unset")
    assert "OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER" in done.stderr


OTHER_CONTEXT = """
import opentelemetry.context as c
from opentelemetry.context.context import _RuntimeContext, Context
class Forgets(_RuntimeContext):
    def attach(self, context): return None
    def get_current(self): return Context()
    def detach(self, token): pass
c._RUNTIME_CONTEXT = Forgets()
"""


def test_a_context_that_forgets_is_refused() -> None:
    """What OTEL_PYTHON_CONTEXT can bring in: a model's spans would stand alone."""
    done = _child(OTHER_CONTEXT)
    assert done.returncode == 1
    assert "they do not find their parent" in done.stderr


SDK = "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider; "


def test_an_application_with_a_provider_of_its_own() -> None:
    """Ours joins it, and the application's spans are sent by both."""
    done = _child(SDK + "trace.set_tracer_provider(TracerProvider())")
    assert done.stdout.split() == ["6", "2", "sent", "1"], done.stderr


def test_an_application_with_a_provider_of_another_kind() -> None:
    """There is nothing to join; it is said, and the server starts."""
    done = _child(SDK + "trace.set_tracer_provider(trace.NoOpTracerProvider())")
    assert (done.returncode, "sent" in done.stdout) == (0, False)
    assert "are not sent by us" in done.stderr
