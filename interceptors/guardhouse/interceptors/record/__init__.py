"""The record of every call: one line in the ledger and one span, whatever became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.refusal import Refusal

from .spans import SpanWriter


class Book(Protocol):
    """Where lines go that must not be lost."""

    @property
    def healthy(self) -> bool:
        """Whether it can."""

    def append(self, entry: dict[str, object]) -> int:
        """Take one entry; returns its number."""


class Record(Guard):
    """Outermost of all: sees every call, refused ones included.

    Args:
        ledger: Takes the line. While it cannot, calls are refused before the model runs.
        export: Takes the span's bytes; must not wait.
    """

    stage = Stage.RECORD

    def __init__(self, ledger: Book | None = None, export: Callable[[bytes], None] | None = None) -> None:
        self._ledger = ledger
        self._export = export
        self._spans = SpanWriter()

    def admit(self, call: Call) -> None:
        """Refuse what could not be recorded."""
        if self._ledger is not None and not self._ledger.healthy:
            raise Refusal("LEDGER_UNAVAILABLE", retry_after=1.0)

    def settle(self, call: Call) -> None:
        """Write the line, then the span."""
        ended = call.ended_ns or time.monotonic_ns()
        try:
            if self._ledger is not None:
                self._ledger.append(entry(call, ended))
        finally:  # a ledger that fails must not blind the trace as well
            if self._export is not None:
                self._export(self._spans.write(call, ended))


def entry(call: Call, ended_ns: int) -> dict[str, object]:
    """The ledger's line for a settled *call*: who, what, how decided, how much. Never inputs or outputs."""
    refusal, principal = call.refusal, call.principal
    total = (ended_ns - call.opened_ns) // 1000
    model = call.model_ns // 1000
    return {
        "kind": "query",
        "time": _instant(call.wall_ns),
        "call": f"{call.span_id:016x}",
        "trace": f"{call.trace_id:032x}",
        "method": call.method.removeprefix("/")[:256],
        "model": call.model,
        "version": call.version,
        "principal": principal.name,
        "issuer": principal.issuer,
        "certificate": principal.certificate,
        "proofs": principal.proofs,
        "roles": call.grant.names if call.grant else (),
        "peer": call.peer,
        "status": call.status.name if call.status else "UNKNOWN",
        "reason": refusal.reason if refusal else "",
        "note": refusal.note if refusal else "",
        "rule": call.rule,
        "requests": call.requests,
        "responses": call.responses,
        "request_bytes": call.request_bytes,
        "response_bytes": call.response_bytes,
        "chain_us": max(0, total - model),
        "model_us": model,
        "total_us": total,
    }


def _instant(wall_ns: int) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
