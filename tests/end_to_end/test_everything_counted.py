"""Ten thousand calls of all kinds: the callers' count, the ledger's and the spans' are one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import NamedTuple

import grpc
import pytest
from gate import INFER, Gate, bearer, command, query

CONNECTIONS, WORKERS = 4, 16
LIMIT = 64 * 1024  # bytes of a message


class Kind(NamedTuple):
    """One kind of call: of a hundred calls so many, and what must become of it."""

    share: int
    request: bytes
    credential: str
    status: str
    reason: str = ""
    reaches_model: bool = False
    method: str = INFER


def raw(model: str = "double", *values: float) -> bytes:
    return query(model, values or (1.0, 2.0)).SerializeToString()


# Who ends a call: for the first group the server, whose status and trace id the caller gets. For the second
# it is grpc, on the caller's side or below our code: the caller gets no words of ours, but the record has
# the same status all the same. None is known where the two differ.
OURS = {
    "answered": Kind(36, raw(), "analyst", "OK", "", True),
    "API key": Kind(10, raw(), "key", "OK", "", True),
    "whoami": Kind(3, b"", "analyst", "OK", method="/guardhouse.v1.Guardhouse/WhoAmI"),
    "live": Kind(3, b"", "analyst", "OK", method="/inference.GRPCInferenceService/ServerLive"),
    "no token": Kind(8, raw(), "nothing", "UNAUTHENTICATED", "TOKEN_MISSING"),
    "bad token": Kind(8, raw(), "garbage", "UNAUTHENTICATED", "TOKEN_INVALID"),
    "denied model": Kind(6, raw("ghost"), "analyst", "PERMISSION_DENIED", "MODEL_DENIED"),
    "unknown model": Kind(2, raw("nowhere"), "operator", "NOT_FOUND", "MODEL_UNKNOWN"),
    "denied method": Kind(2, b"", "analyst", "PERMISSION_DENIED", "METHOD_DENIED", method="/no.Such/Method"),
    "unknown method": Kind(
        2, b"", "operator", "UNIMPLEMENTED", "METHOD_UNKNOWN", method="/inference.GRPCInferenceService/No"
    ),
    "no protobuf": Kind(4, b"\xff" * 9, "analyst", "INVALID_ARGUMENT", "MESSAGE_UNREADABLE"),
    "empty tensor": Kind(4, raw() + b"\x2a\0", "analyst", "INVALID_ARGUMENT", "TENSOR_CONTENTS"),
    "broken model": Kind(4, raw("broken"), "analyst", "INTERNAL", "MODEL_FAILED", True),
    "over the rate": Kind(4, raw(), "trickle", "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
}
GRPCS = {
    "over the size": Kind(2, b"x" * (LIMIT + 1), "analyst", "RESOURCE_EXHAUSTED", "TOO_LARGE"),
    "cancelled": Kind(1, raw("patient", 3600), "analyst", "CANCELLED", "CANCELLED", True),
    "late": Kind(1, raw("patient", 3600), "analyst", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", True),
}
KINDS = OURS | GRPCS
BURST = 2  # calls that the role of "over the rate" may make


@pytest.fixture
def gate(tmp_path, sink):
    """A server of this test alone, so that every call it has ever had is known."""
    made = Gate(tmp_path / "demo", sink.port).start("--set", "server.max_message=64KiB")
    yield made
    if made.process.poll() is None:
        made.stop()


@pytest.fixture
def credentials(gate):
    """What callers show, by the names in `KINDS`."""
    key = command("key", "create", "app-counted", "--dir", str(gate.folder))
    tokens = {role: gate.token(role) for role in ("analyst", "operator", "trickle")}
    shown = {"garbage": "garbage", "key": key, **tokens}
    return {"nothing": (), **{name: bearer(token) for name, token in shown.items()}}


class Crowd:
    """Callers on several connections, and what became of their calls: kind and status, and trace ids."""

    def __init__(self, gate: Gate, credentials: dict[str, tuple[tuple[str, str], ...]]) -> None:
        self.gate = gate
        self.credentials = credentials
        self.seen: Counter[tuple[str, str]] = Counter()
        self.traces: list[str] = []
        self.channels = [gate.aio([("grpc.max_send_message_length", -1)]) for _ in range(CONNECTIONS)]

    def begin(self, name: str, turn: int, timeout: float = 60.0) -> grpc.aio.UnaryUnaryCall:
        kind = KINDS[name]
        method = self.channels[turn % CONNECTIONS].unary_unary(kind.method)
        return method(kind.request, metadata=self.credentials[kind.credential], timeout=timeout)

    async def end(self, name: str, call: grpc.aio.UnaryUnaryCall) -> None:
        code = await call.code()
        self.seen[name, code.name] += 1
        if name in OURS:
            self.traces.append(dict(await call.trailing_metadata())["guardhouse-trace-id"])

    async def work(self, turn: int, names: list[str]) -> None:
        while names:
            name = names.pop()
            await self.end(name, self.begin(name, turn))

    async def leave(self, cancelled: int, late: int) -> None:
        """Make calls that the model is slow to answer; once it has them all, cancel some of them."""
        waiting = [self.begin("late", turn, timeout=5) for turn in range(late)]
        leaving = [self.begin("cancelled", turn) for turn in range(cancelled)]
        while self.gate.calls(b"p") < cancelled + late:  # noqa: ASYNC110 - a file is the witness
            await asyncio.sleep(0.05)
        for call in leaving:
            call.cancel()
        for name, calls in (("cancelled", leaving), ("late", waiting)):
            for call in calls:
                await self.end(name, call)


async def crowd(made: Crowd, count: int) -> None:
    """Make *count* calls."""
    names = [name for name, kind in KINDS.items() for _ in range(kind.share * count // 100)]
    slow = {name: names.count(name) for name in ("cancelled", "late")}
    names = [name for name in names if name not in slow]
    random.Random(0).shuffle(names)
    workers = [made.work(turn, names) for turn in range(CONNECTIONS * WORKERS)]
    await asyncio.gather(made.leave(**slow), *workers)
    for channel in made.channels:
        await channel.close()


def expected(count: int) -> Counter[tuple[str, str]]:
    """Calls by kind and status."""
    wanted = Counter({(name, kind.status): kind.share * count // 100 for name, kind in KINDS.items()})
    wanted["over the rate", "RESOURCE_EXHAUSTED"] -= BURST
    wanted["over the rate", "OK"] = BURST
    return wanted


def by_status(counted: Counter[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, status), calls in counted.items():
        total[status] += calls
    return total


def by_reason(counted: Counter[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (name, status), calls in counted.items():
        total["" if status == "OK" else KINDS[name].reason] += calls
    return total


async def test_every_call_is_counted_everywhere(gate, sink, credentials):
    """Callers, ledger and spans agree on the number of calls of each status and reason, and on each call."""
    assert sum(kind.share for kind in KINDS.values()) == 100

    made, count = Crowd(gate, credentials), 10_000
    await crowd(made, count)
    status = await asyncio.to_thread(gate.stop)
    lines, spans = gate.ledger(), sink.spans

    assert made.seen == expected(count), "what the callers saw"
    assert (status, made.seen.total(), len(lines), len(spans)) == (0, count, count, count)
    seen, reasons = by_status(made.seen), by_reason(made.seen)
    assert Counter(line["status"] for line in lines) == seen
    assert Counter(span["rpc.status_code"] for span in spans) == seen
    assert Counter(line["reason"] for line in lines) == reasons
    assert Counter(span.get("guardhouse.reason", "") for span in spans) == reasons
    calls = {(line["trace"], line["call"], line["status"]) for line in lines}
    assert calls == {(span["trace_id"], span["span_id"], span["rpc.status_code"]) for span in spans}
    assert len(calls) == len({call for _, call, _ in calls}) == count, "no two calls share their ids"
    assert len(made.traces) == len(set(made.traces))
    assert set(made.traces) <= {trace for trace, _, _ in calls}, "what callers were told can be found"
    reached = sum(made.seen[name, kind.status] for name, kind in KINDS.items() if kind.reaches_model)
    assert gate.calls() == reached + BURST, "the model was asked what was allowed, and nothing else"
    verdict = gate.verified()
    assert verdict["intact"], verdict
