"""Our span as the parent of those that code inside a model makes with the OpenTelemetry API.

Every call has a parent to offer and most models never ask, so a call pays for one small object and one
`ContextVar.set`; the span that the API is shown is made when somebody looks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.context import Context, attach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage

from .spans import caller_context


class Parent(Context):
    """A context that holds the span of *call* and nothing else: no baggage comes in from outside.

    It is empty until it is read; every way to read a dictionary fills it first.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call

    def _fill(self) -> None:
        if (call := self._call) is not None:
            ids = SpanContext(call.trace_id, call.span_id, False, TraceFlags(TraceFlags.SAMPLED))
            for key, value in set_span_in_context(NonRecordingSpan(ids), Context()).items():
                dict.__setitem__(self, key, value)
            self._call = None

    def get(self, key: str, default: Any = None) -> Any:
        self._fill()
        return super().get(key, default)

    def copy(self) -> dict[str, object]:
        self._fill()
        return super().copy()

    def keys(self) -> Any:
        self._fill()
        return super().keys()

    def values(self) -> Any:
        self._fill()
        return super().values()

    def items(self) -> Any:
        self._fill()
        return super().items()

    def __getitem__(self, key: str) -> object:
        self._fill()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._fill()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._fill()
        return super().__reversed__()

    def __len__(self) -> int:
        self._fill()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._fill()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self._fill()
        return super().__ne__(other)

    __hash__ = None  # type: ignore[assignment] # as any dictionary

    def __or__(self, other: Any) -> Any:
        return Context(self.copy() | other)

    def __ror__(self, other: Any) -> Any:
        return Context(other | self.copy())

    def __repr__(self) -> str:
        self._fill()
        return super().__repr__()


class OurSpan(Guard):
    """Innermost: makes the call's span the current one for the code behind the chain."""

    stage = Stage.OUTPUT

    def admit(self, call: Call) -> None:
        """Attach it. Nothing detaches it: the task, or the thread's next call, brings its own."""
        if call.grant is not None and call.grant.continue_traces:
            _join(call)
        attach(Parent(call))


def _join(call: Call) -> None:
    """Go on with the caller's trace, if it sent one."""
    if (context := caller_context(call)) is not None:
        trace_id, span_id, _ = context
        call.trace_id, call.parent_id = int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big")
