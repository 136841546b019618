"""`durability: strict`: no answer leaves before its line is in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from callers import OWN, Callers, ask
from gate import Gate, until
from sink import Sink

CALLERS, CALLS = 4, 100


@pytest.fixture
def gate(tmp_path: Path, sink: Sink) -> Iterator[Gate]:
    """A server that writes before it answers."""
    made = Gate(tmp_path / "demo", sink.port).start("--set", "audit.durability=strict")
    yield made
    made.kill()


def missing(gate: Gate, token: str) -> list[str]:
    """Ask many times, and read what is new in the ledger's file after each answer. What was not there yet."""
    with gate.channel(options=OWN) as channel, gate.ledger_file.open("rb") as file:
        told = []
        for _ in range(CALLS):
            file.read()
            said = ask(channel, token)
            assert said.status == "OK"
            told.append((said.trace, file.read()))
    return [trace for trace, new in told if f'"trace":"{trace}"'.encode() not in new]


def test_an_answer_comes_after_its_line(gate: Gate) -> None:
    """At the moment when a caller has its answer, the line is in the file, for each of several at once."""
    token = gate.token()
    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(lambda _: missing(gate, token), range(CALLERS)))

    assert found == [[]] * CALLERS
    assert gate.stop() == 0
    assert len(gate.entries("query")) == gate.calls() == CALLERS * CALLS
    assert gate.verified()["intact"]


def test_sigterm_under_load_loses_no_line(gate: Gate) -> None:
    """Told to stop under load, it answers what it took, has the line of each, and ends with its `stop`."""
    with Callers(gate) as callers:
        until(lambda: len(callers.answered()) >= 100)
        status = gate.stop()

    assert status == 0, gate.log()
    lines = gate.entries("query")
    assert {line["trace"] for line in lines if line["status"] == "OK"} == callers.answered()
    assert len(callers.answered()) == gate.calls(), "what reached the model was answered"
    assert not gate.entries("withheld", "gap")
    assert gate.entries()[-1]["kind"] == "stop"
    assert gate.verified()["intact"]
