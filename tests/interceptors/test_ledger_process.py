"""A ledger in a process of its own: stopped in the middle of a write, killed, forgotten."""

import os
import subprocess
import sys
from pathlib import Path

import guardhouse.interceptors
from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.verify import Verdict, verify

QUERY: dict[str, object] = {"kind": "query", "model": "digits", "status": "OK"}
ROOT = str(Path(next(iter(guardhouse.interceptors.__path__))).parents[1])


def verdict_of(folder: Path) -> Verdict:
    return verify((folder / "ledger.jsonl").read_bytes().splitlines(keepends=True))


LIMITED = """
import resource, sys, time
from pathlib import Path
from guardhouse.interceptors.ledger import Ledger
folder = Path(sys.argv[1])
ledger = Ledger(folder, flush_seconds=0.005)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
for _ in range(100):
    ledger.append({"kind": "query"})
while ledger.healthy:
    time.sleep(0.002)
print(ledger.trouble, (folder / "ledger.jsonl").read_bytes()[-1:] == b"\\n", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while not ledger.healthy:
    time.sleep(0.002)
ledger.close()
"""


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )


def test_a_write_that_stops_half_way_leaves_no_torn_line(tmp_path: Path) -> None:
    """Where only the first bytes of a group fit, they are taken back, and all of it is written later."""
    with python(LIMITED, str(tmp_path)) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip().endswith("File too large True")
    assert verdict_of(tmp_path).intact
    assert verdict_of(tmp_path).count == 103


KILLED = """
import sys
from pathlib import Path
from guardhouse.interceptors.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), durability="strict")
while True:
    number = ledger.append({"kind": "query", "note": "x" * 500})
    if number % 50 == 0 and ledger.wait(number):
        print(number, flush=True)
"""


def test_a_killed_writer_loses_no_line_that_was_on_disk(tmp_path: Path) -> None:
    """After kill -9 every line said to be durable is there; the next start goes on, and says so."""
    told = 0
    with python(KILLED, str(tmp_path)) as process:
        assert process.stdout
        while told < 1000:
            told = int(process.stdout.readline())
        process.kill()
        for line in process.stdout.read().splitlines():
            told = int(line)
    before = verdict_of(tmp_path)
    assert before.last >= told
    assert before.bad is None or before.bad.what == "torn last line"
    ledger = Ledger(tmp_path)
    ledger.append(QUERY)
    ledger.close()
    after = verdict_of(tmp_path)
    assert after.intact
    torn = [] if before.bad is None else ["gap"]
    assert [gap.what for gap in after.gaps] == [*torn, "start"]
    assert after.count == before.count + len(torn) + 3


LEFT = """
import sys
from pathlib import Path
from guardhouse.interceptors.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), flush_seconds=60)
for _ in range(100):
    ledger.append({"kind": "query"})
"""


def test_a_program_that_forgets_to_close_still_writes_its_lines(tmp_path: Path) -> None:
    """At a normal end of the interpreter, what waits is written."""
    with python(LEFT, str(tmp_path)) as process:
        assert process.wait(60) == 0
    assert verdict_of(tmp_path).count == 103
