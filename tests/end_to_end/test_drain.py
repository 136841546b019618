"""A server told to stop under load: what it has accepted it answers, and what it answered is written down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import Counter

import grpc
import pytest
from gate import INFER, Gate, bearer, query
from sink import Sink

CONNECTIONS, WORKERS = 4, 12


@pytest.fixture
def running(tmp_path):
    """Start a server with more arguments, with a receiver of spans of its own; both end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> tuple[Gate, Sink]:
            sink = Sink()
            stack.callback(sink.stop)
            gate = Gate(tmp_path / "demo", sink.port).start(*arguments)
            stack.callback(end, gate)
            return gate, sink

        yield start


def end(gate: Gate) -> None:
    if gate.process.poll() is None:
        gate.process.kill()
        gate.process.wait()


class Load:
    """Callers who do not stop by themselves: each begins the next call when one has ended."""

    def __init__(self, gate: Gate) -> None:
        self.channels = [gate.aio() for _ in range(CONNECTIONS)]
        self.token = bearer(gate.token())
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.refused: set[str] = set()
        self.over = asyncio.Event()

    async def work(self, turn: int) -> None:
        model, value = [("double", 1.0), ("slow", 0.3), ("patient", 0.3)][turn % 3]
        method = self.channels[turn % CONNECTIONS].unary_unary(INFER)
        request = query(model, [value]).SerializeToString()
        while not self.over.is_set():
            call = method(request, metadata=self.token, timeout=30)
            code = await call.code()
            self.outcomes[model, code.name] += 1
            if code is not grpc.StatusCode.OK:
                self.refused.add(await call.details())
                return

    async def run(self) -> None:
        await asyncio.gather(*(self.work(turn) for turn in range(CONNECTIONS * WORKERS)))
        for channel in self.channels:
            await channel.close()

    def count(self, *statuses: str) -> int:
        return sum(calls for (_, status), calls in self.outcomes.items() if status in statuses)


async def ended(gate: Gate, seconds: float = 30) -> int:
    return await asyncio.to_thread(gate.process.wait, seconds)


async def test_stopping_under_load_fails_no_call(running):
    """SIGTERM under load: every call the server took is answered OK, recorded and traced; then it exits 0."""
    gate, sink = running()
    load = Load(gate)
    task = asyncio.create_task(load.run())
    while load.outcomes["slow", "OK"] < 8:
        await asyncio.sleep(0.02)
    gate.process.send_signal(signal.SIGTERM)
    status = await ended(gate)
    load.over.set()
    await task

    lines = gate.ledger()
    assert status == 0, gate.log()
    assert load.count("OK", "UNAVAILABLE") == load.outcomes.total(), (load.outcomes, load.refused)
    assert load.count("OK") == gate.calls(), "what reached a model was answered"
    assert Counter(line["status"] for line in lines) == {"OK": load.count("OK")}
    assert len(sink.spans) == len(lines)
    assert gate.verified()["intact"]
    assert "Traceback" not in gate.log()
