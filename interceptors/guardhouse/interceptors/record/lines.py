"""The ledger as a sink: one line for every call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG
from guardhouse.interceptors.ledger.chain import encode


class Book(Protocol):
    """Where lines go that must not be lost."""

    def append_many(self, bodies: Sequence[bytes]) -> int:
        """Take entries, each encoded as a JSON object of printable ASCII; returns the number of the last."""


class Lines:
    """Writes one line for every call into *book*.

    What many calls share (who, what, by which rule) is encoded once and kept; a call that was let through
    adds its ids, its time and its numbers to that.
    """

    def __init__(self, book: Book) -> None:
        self._append = book.append_many
        self._kept: Bounded[tuple[object, ...], str] = Bounded(8192)

    def take(self, calls: Sequence[Call]) -> None:
        """Append the lines of settled *calls*."""
        self._append([body for body in map(self._body, calls) if body])

    def _body(self, call: Call) -> bytes:
        try:
            return self.body(call)
        except Exception:  # it must cost no other its line
            LOG.exception("call %016x could not be recorded", call.span_id)
            return b""

    def body(self, call: Call) -> bytes:
        """The ledger's entry for a settled *call*, encoded."""
        if call.refusal is not None or call.capture or call.shadow or call.usage or call.degraded:
            return encode(entry(call))
        key = (call.method, call.principal, call.grant, call.model, call.version, call.rule, call.peer)
        shared = self._kept.get(key)
        if shared is None:
            shared = _shared(call)
            self._kept.put(key, shared)
        seconds, rest = divmod(call.wall_ns, 1_000_000_000)
        total = (call.ended_ns - call.opened_ns) // 1000
        model, queue = call.model_ns // 1000, call.queue_ns // 1000
        chain = total - model - queue
        return (
            f'{{"kind":"query","time":"{_second(seconds)}.{rest // 1000:06d}Z","call":"{call.span_id:016x}",'
            f'"trace":"{call.trace_id:032x}",{shared},"units":{call.units},"requests":{call.requests},'
            f'"responses":{call.responses},"request_bytes":{call.request_bytes},'
            f'"response_bytes":{call.response_bytes},"chain_us":{max(0, chain)},'
            f'"queue_us":{queue},"model_us":{model},"total_us":{total},"shadow":"","capture":""}}'
        ).encode()


def entry(call: Call) -> dict[str, object]:
    """The ledger's entry for a settled *call*: who, what, how decided, how much. Never inputs or outputs."""
    total = (call.ended_ns - call.opened_ns) // 1000
    model, queue = call.model_ns // 1000, call.queue_ns // 1000
    usage = call.usage
    return {
        **_ids("query", call),
        **_who_and_what(call),
        "units": call.units,
        "requests": call.requests,
        "responses": call.responses,
        "request_bytes": call.request_bytes,
        "response_bytes": call.response_bytes,
        **({"input_tokens": usage.input, "output_tokens": usage.output} if usage else {}),
        "chain_us": max(0, total - model - queue),
        "queue_us": queue,
        "model_us": model,
        "total_us": total,
        "shadow": call.shadow,
        **({"degraded": call.degraded} if call.degraded else {}),
        "capture": call.capture,
    }


def beginning(call: Call) -> dict[str, object]:
    """The entry that says, before it is so, that *call* is answered with a stream."""
    who = _who_and_what(call)
    return {**_ids("stream", call), **{key: who[key] for key in ("method", "model", "version", "principal")}}


def withheld(call: Call) -> dict[str, object]:
    """The entry that says that the answer of *call* was held back: its line could not be written in time."""
    return _ids("withheld", call)


def _ids(kind: str, call: Call) -> dict[str, object]:
    return {
        "kind": kind,
        "time": instant(call.wall_ns),
        "call": f"{call.span_id:016x}",
        "trace": f"{call.trace_id:032x}",
    }


def _who_and_what(call: Call) -> dict[str, object]:
    refusal, principal = call.refusal, call.principal
    return {
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
    }


def _shared(call: Call) -> str:
    """The members that calls have in common, as JSON without its braces."""
    return encode(_who_and_what(call))[1:-1].decode("ascii")


def instant(wall_ns: int) -> str:
    """Nanoseconds since the epoch in RFC 3339, in UTC, to the microsecond."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
