"""A server that is killed under load, and the next one on its folder: what is on the disk, what is lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import Callers, ask
from gate import COMMAND, Gate, until
from sink import Sink

AWAY = "tracing.endpoint=http://127.0.0.1:1"
TORN = 3  # exit status of `audit verify`
REST = 20  # bytes of a line


@pytest.fixture
def gate(tmp_path: Path, sink: Sink) -> Iterator[Gate]:
    """A folder for servers."""
    made = Gate(tmp_path / "demo", sink.port)
    yield made
    made.kill()


def verify(gate: Gate, *more: str) -> tuple[int, str]:
    """What `guardhouse audit verify` says, and its exit status."""
    key = ("--public-key", str(gate.folder / "pki" / "ledger.pem"))
    run = [COMMAND, "audit", "verify", str(gate.folder / "ledger"), *key, *more]
    done = subprocess.run(run, capture_output=True, text=True)
    return done.returncode, done.stdout


def recorded(gate: Gate) -> set[str]:
    """The traces of the calls that have their whole lines in the ledger."""
    return {line["trace"] for line in gate.entries("query")}


def killed(gate: Gate, *arguments: str) -> tuple[Callers, set[str]]:
    """Kill a server that many ask; the callers, and what was answered some time before, and recorded."""
    gate.start(*arguments)
    with Callers(gate) as callers:
        until(lambda: len(callers.answered()) >= 100)
        before = callers.answered()
        until(lambda: before <= recorded(gate))
        gate.kill()
        until(lambda: len(callers.left) == len(callers.told))
    assert {said.status for said in callers.left} == {"UNAVAILABLE"}
    return callers, before


def whole_up_to_its_end(gate: Gate) -> bool:
    """Nothing is wrong with the killed server's ledger but, perhaps, its torn last line. Whether that is."""
    status, said = verify(gate, "--json")
    verdict = json.loads(said)
    last = gate.entries()[-1]
    assert verdict["last"] == last["seq"]
    assert last["kind"] != "stop"
    assert (status, verdict["intact"], verdict["torn"]) in ((0, True, False), (TORN, False, True))
    return verdict["torn"]


def goes_on(gate: Gate, token: str, torn: bool) -> list[dict[str, object]]:
    """Serve once more from the same folder; the lines that were added. The chain is one, from end to end."""
    before = gate.entries()
    gate.start()
    with gate.channel() as channel:
        said = ask(channel, token)
    assert (said.status, gate.stop()) == ("OK", 0)

    entries = gate.entries()
    assert entries[: len(before)] == before
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    added = [entry for entry in entries[len(before) :] if entry["kind"] != "checkpoint"]
    assert [entry["kind"] for entry in added] == [*["gap"] * torn, "start", "query", "stop"]
    assert (added[-3]["closed"], added[-2]["trace"]) == (False, said.trace)
    status, told = verify(gate)
    assert status == 0, told
    assert "the run before it was not closed" in told
    return added


def test_killed_in_buffered(gate: Gate) -> None:
    """Of each caller's answers only the last lack their lines; the chain is whole, and goes on.

    What was answered while the ledger was seen to be behind is there once it has caught up, under the same
    load: the loss is of the last moment. No line between two others is lost.
    """
    callers, before = killed(gate)
    torn = whole_up_to_its_end(gate)
    lines = recorded(gate)

    assert before <= lines
    for told in callers.told:
        there = [said.trace in lines for said in told]
        assert there == sorted(there, reverse=True), "the lost ones are the last"
    goes_on(gate, callers.token, torn)


def test_killed_in_strict(gate: Gate) -> None:
    """Each call that a caller has an answer to has its line, however suddenly the server ended."""
    callers, _ = killed(gate, "--set", "audit.durability=strict")

    assert callers.answered() <= recorded(gate)
    goes_on(gate, callers.token, whole_up_to_its_end(gate))


def test_killed_in_the_middle_of_a_line(gate: Gate) -> None:
    """A last line has no end: `verify` says so; the next server puts it aside, and tells of it."""
    callers, _ = killed(gate)
    lines = gate.ledger_file.read_bytes().splitlines(keepends=True)
    os.truncate(gate.ledger_file, sum(map(len, lines[:-1])) + REST)
    status, told = verify(gate)

    assert status == TORN
    last = gate.entries()[-1]["seq"]
    assert f"intact up to seq {last}; its last line is torn" in told
    gap = goes_on(gate, callers.token, torn=True)[0]
    assert (gap["reason"], gap["bytes"]) == ("torn line cut off", REST)
    assert (gate.ledger_file.parent / str(gap["kept_in"])).read_bytes() == lines[-1][:REST]


def test_spans_on_the_disk_outlive_a_kill(gate: Gate, sink: Sink) -> None:
    """What waits in the spool is sent by the next server that finds its collector, though one was killed."""
    spool = ("--set", "tracing.spool=spans")
    gate.start(*spool, "--set", AWAY)
    token = gate.token()
    with gate.channel() as channel:
        spooled = {ask(channel, token).trace for _ in range(5)}
    assert gate.stop() == 0
    kept = sorted(path.read_bytes() for path in (gate.folder / "spans").glob("*.spans"))
    killed(gate, *spool, "--set", AWAY)

    assert kept
    assert sorted(path.read_bytes() for path in (gate.folder / "spans").glob("*.spans")) == kept
    gate.start(*spool)
    until(lambda: spooled <= {span["trace_id"] for span in sink.spans})
    assert gate.stop() == 0
    assert not list((gate.folder / "spans").glob("*.spans"))
    assert "lost" not in gate.log()
