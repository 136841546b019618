"""The ledger as a sink: one line for every call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG


class Book(Protocol):
    """Where lines go that must not be lost."""

    def append(self, entry: dict[str, object]) -> int:
        """Take one entry; returns its number."""


class Lines:
    """Writes one line for every call into *book*. A line that cannot be taken costs no other."""

    def __init__(self, book: Book) -> None:
        self._append = book.append

    def take(self, calls: Sequence[Call]) -> None:
        """Append the lines of settled *calls*."""
        for call in calls:
            try:
                self._append(entry(call))
            except Exception:
                LOG.exception("call %016x could not be recorded", call.span_id)


def entry(call: Call) -> dict[str, object]:
    """The ledger's line for a settled *call*: who, what, how decided, how much. Never inputs or outputs."""
    refusal, principal = call.refusal, call.principal
    total = (call.ended_ns - call.opened_ns) // 1000
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
        "guard": refusal.guard if refusal else "",
        "reason": refusal.reason if refusal else "",
        "note": refusal.note if refusal else "",
        "rule": call.rule,
        "units": call.units,
        "requests": call.requests,
        "responses": call.responses,
        "request_bytes": call.request_bytes,
        "response_bytes": call.response_bytes,
        "chain_us": max(0, total - model - call.queue_ns // 1000),
        "queue_us": call.queue_ns // 1000,
        "model_us": model,
        "total_us": total,
        "capture": call.capture,
    }


def _instant(wall_ns: int) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
