"""A minute of load while the collector is away: `make soak`."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gate import INFER, Gate, bearer, command, query
from sink import Sink

SECONDS = 60
CALLERS = 8


def memory(process_id: int) -> int:
    """Resident memory in KiB."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def call_until(gate: Gate, token: str, end: float) -> int:
    """Ask the model again and again; returns how often. A call that fails fails the test."""
    count, body = 0, query().SerializeToString()
    with gate.channel() as channel:
        infer = channel.unary_unary(INFER)
        while time.monotonic() < end:
            infer(body, metadata=bearer(token), timeout=10)
            count += 1
    return count


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_a_minute_without_a_collector(tmp_path: Path) -> None:
    """No call fails, memory does not grow with the calls, every call is on the ledger, and it verifies."""
    sink = Sink()
    sink.stop()  # its port answers nobody from here on
    gate = Gate(tmp_path / "demo", sink.port).start()
    token = gate.token()
    call_until(gate, token, time.monotonic() + 10)
    warm = memory(gate.process.pid)

    end = time.monotonic() + SECONDS
    with ThreadPoolExecutor(CALLERS) as pool:
        counts = list(pool.map(lambda _: call_until(gate, token, end), range(CALLERS)))
    grown = memory(gate.process.pid) - warm

    assert gate.stop() == 0
    lost = re.search(r"(\d+) spans were lost, (\d+) sent", (gate.folder / "stderr").read_text())
    recorded = len(gate.ledger())
    assert gate.calls() == recorded
    assert sum(counts) <= recorded
    assert (int(lost[1]), int(lost[2])) == (recorded, 0)
    assert grown < 100_000, "the queue of spans is bounded: 65,536 of about 600 bytes"
    assert "intact" in command("audit", "verify", str(gate.folder / "ledger"))
