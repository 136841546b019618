"""A server told to stop under load: what it has accepted it answers, and what it answered is written down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import Counter
from collections.abc import Callable

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


def listens(port: int) -> bool:
    """Whether anybody takes a connection there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


async def ended(gate: Gate, seconds: float = 30) -> int:
    return await asyncio.to_thread(gate.process.wait, seconds)


async def test_stopping_under_load_fails_no_call(running):
    """SIGTERM under load: every call the server took is answered OK, recorded and traced; then it exits 0."""
    gate, sink = running()
    load = Load(gate)
    task = asyncio.create_task(load.run())
    await until(lambda: load.outcomes["slow", "OK"] >= 8)
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


def ask(gate: Gate, model: str, seconds: float, timeout: float = 60) -> grpc.aio.UnaryUnaryCall:
    """Begin a call that takes the model so many seconds."""
    method = gate.aio().unary_unary(INFER)
    return method(query(model, [seconds]).SerializeToString(), metadata=bearer(gate.token()), timeout=timeout)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    while not holds():  # noqa: ASYNC110 - it does not tell
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_that_come_again_hurt_nothing(running, number):
    """However often it is told to stop, the call under way is answered, all is written, and it exits 0."""
    gate, sink = running()
    call = ask(gate, "patient", 1.0)
    await until(lambda: gate.calls() == 1)
    while gate.process.poll() is None:
        gate.process.send_signal(number)
        await asyncio.sleep(0.01)

    assert gate.process.returncode == 0, gate.log()
    assert await call.code() is grpc.StatusCode.OK
    assert [line["status"] for line in gate.ledger()] == ["OK"]
    assert len(sink.spans) == 1
    assert gate.verified()["intact"]


async def test_a_model_that_hangs_does_not_keep_the_server(running):
    """A thread that never ends is given up after the drain: ledger and spans are whole, and the exit is 0."""
    gate, sink = running("--set", "server.drain=1s")
    call = ask(gate, "slow", 3600)
    await until(lambda: gate.calls() == 1)
    gate.process.send_signal(signal.SIGTERM)

    assert await ended(gate) == 0, gate.log()
    assert await call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert [line["status"] for line in gate.ledger()] == ["CANCELLED"]
    assert len(sink.spans) == 1
    assert gate.verified()["intact"]
    assert "a model still computes" in gate.log()


async def test_a_server_that_drains_takes_nobody_new(running):
    """While a call is under way after SIGTERM, nobody can connect any more; the call itself is answered."""
    gate, _ = running()
    call = ask(gate, "patient", 1.5)
    await until(lambda: gate.calls() == 1)
    gate.process.send_signal(signal.SIGTERM)
    await until(lambda: call.done() or not listens(gate.port))

    assert not call.done()
    assert await call.code() is grpc.StatusCode.OK
    assert await ended(gate) == 0


async def test_a_collector_that_is_away_does_not_keep_the_server(running):
    """Spans that nobody takes are given up after a moment, and counted; the ledger has the call."""
    gate, sink = running()
    sink.stop()
    call = ask(gate, "double", 1.0)
    assert await call.code() is grpc.StatusCode.OK
    gate.process.send_signal(signal.SIGTERM)

    assert await ended(gate) == 0, gate.log()
    assert "1 spans were lost" in gate.log()
    assert [line["status"] for line in gate.ledger()] == ["OK"]
