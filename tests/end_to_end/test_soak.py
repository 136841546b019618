"""Minutes of load while the collector is down, slow and refusing: `make soak`."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from gate import INFER, Gate, bearer, query, until
from metering import Samples, by, scraped
from moody import Moody

SECONDS = 60  # of each mood
CALLERS = 8


class Load:
    """Callers who begin the next call when one has ended, in threads of their own, until told."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.token = gate, bearer(gate.token())
        self.over = threading.Event()
        self.failures: list[tuple[float, str]] = []  # when, and the status
        self._pool = ThreadPoolExecutor(CALLERS)
        self._callers = [self._pool.submit(self._call) for _ in range(CALLERS)]

    def end(self) -> int:
        """Tell the callers to stop; how many of their calls were answered."""
        self.over.set()
        answered = sum(caller.result() for caller in self._callers)
        self._pool.shutdown()
        return answered

    def _call(self) -> int:
        body, answered = query().SerializeToString(), 0
        with self.gate.channel(options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = channel.unary_unary(INFER)
            while not self.over.is_set():
                try:
                    infer(body, metadata=self.token, timeout=10)
                    answered += 1
                except grpc.RpcError as error:
                    self.failures.append((time.monotonic(), error.code().name))
        return answered


def memory(process_id: int) -> int:
    """Resident memory in MiB."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def spans(page: Samples) -> dict[str, int]:
    """Where every span is, as the page tells."""
    return {
        "sent": by(page, "guardhouse_spans_sent_total").total(),
        "lost": by(page, "guardhouse_spans_lost_total").total(),
        "queued": by(page, "guardhouse_spans_queued").total(),
        "spooled": by(page, "guardhouse_spans_spooled").total(),
    }


def settled(gate: Gate) -> tuple[int, dict[str, int]]:
    """How many calls have ended, and where their spans are, at one moment of a server under load."""
    page = scraped(gate)
    return by(page, "guardhouse_calls_total").total(), spans(page)


@pytest.mark.soak
@pytest.mark.timeout(12 * SECONDS)
def test_a_collector_that_is_down_then_slow_then_refusing(tmp_path: Path) -> None:
    """No call fails, memory is flat, sent and lost spans are the calls exactly, and the ledger has them all.

    The collector's own count is the exporter's. At the end the server is told to stop under load, with
    the collector well again: no line of the ledger is lost, and what was queued is sent within the grace.
    """
    collector = Moody()
    gate = Gate(tmp_path / "demo", collector.port).start("--set", "metrics.listen=127.0.0.1:0")
    load = Load(gate)
    memories, counted = [], []

    def sit_out(mood: str) -> None:
        time.sleep(SECONDS)
        calls, where = settled(gate)
        memories.append(memory(gate.process.pid))
        counted.append((mood, calls, where))
        print(f"{mood}: {calls} calls, {memories[-1]} MiB, {where}")

    sit_out("down")
    collector.delay = 2.0
    collector.up()
    sit_out("slow")
    collector.delay, collector.refusing = 0.0, True
    sit_out("refusing")
    collector.refusing = False
    time.sleep(SECONDS / 6)  # the load goes on, and the collector takes all
    stopping = time.monotonic()
    assert gate.stop() == 0
    took = time.monotonic() - stopping
    answered = load.end()
    collector.down()

    told = re.search(r"(\d+) spans were lost \((.*)\), (\d+) sent", gate.log())
    lost, sent = int(told[1]), int(told[3])
    ended = Counter(line["status"] for line in gate.ledger())
    print(f"stopped after {took:.1f} s; {sent} sent, {lost} lost ({told[2]}); {answered} answered; {ended}")

    assert all(when >= stopping for when, _ in load.failures), load.failures[:10]
    assert gate.calls() == answered == ended["OK"], "every answered call is on the ledger, and no other"
    assert sent + lost == ended.total()
    assert collector.taken == sent
    assert "shutdown" not in told[2], "what was queued at the end was sent within the grace"
    assert gate.verified()["intact"]
    assert memories[-1] - memories[0] < 32, "the queue was full of spans after the first minute"
    for mood, calls, where in counted:
        # Calls end while the page is made: some batches may be in one number and not yet in the other.
        assert abs(sum(where.values()) - calls) < 256, mood


@pytest.mark.soak
@pytest.mark.timeout(8 * SECONDS)
def test_a_collector_that_is_down_and_a_spool(tmp_path: Path) -> None:
    """Nothing is lost: what was not sent waits on the disk, and the next start sends it."""
    collector = Moody()
    gate = Gate(tmp_path / "demo", collector.port)
    settings = ("--set", f"tracing.spool={tmp_path / 'spool'}", "--set", "metrics.listen=127.0.0.1:0")
    load = Load(gate.start(*settings))
    time.sleep(SECONDS)
    stopping = time.monotonic()
    assert gate.stop() == 0
    answered = load.end()
    assert all(when >= stopping for when, _ in load.failures), load.failures[:10]
    assert f"{answered} spans wait in the spool for the next start" in gate.log()
    assert "lost" not in gate.log()

    collector.up()
    gate.start(*settings)
    until(lambda: spans(scraped(gate)) == {"sent": answered, "lost": 0, "queued": 0, "spooled": 0}, 120)
    assert gate.stop() == 0
    collector.down()
    assert collector.taken == answered == len(gate.ledger())
    assert gate.verified()["intact"]
