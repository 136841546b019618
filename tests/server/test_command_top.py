"""`guardhouse top` as a process: on a terminal, for a program, and how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.chain import stamp

from .conftest import Run

PROGRAM = "from guardhouse.server.commands import main; raise SystemExit(main())"
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def call(principal: str = "ann", **facts: object) -> dict[str, object]:
    """A call that ended just now."""
    usual = {"kind": "query", "time": stamp(time.time()), "method": "p.S/ModelInfer", "model": "digits"}
    return {**usual, "principal": principal, "status": "OK", "reason": "", "total_us": 1000, **facts}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    book = Ledger(tmp_path / "ledger")
    book.wait(book.append(call()))
    yield book
    book.close()


class Terminal:
    """A terminal with `guardhouse top` in it."""

    def __init__(self, leader: int, process: subprocess.Popen[bytes]) -> None:
        self.leader, self.process = leader, process
        self.seen = b""

    def until(self, *wanted: bytes) -> bytes:
        """Read until all of *wanted* were written since the last time; what was written."""
        end = time.monotonic() + 30
        while not all(each in self.seen for each in wanted) and time.monotonic() < end:
            if select.select([self.leader], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.leader, 1 << 16)
                except OSError:  # the other end is closed
                    break
        assert all(each in self.seen for each in wanted), self.seen
        seen, self.seen = self.seen, b""
        return seen

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    """Run `guardhouse top` in a terminal of 100 columns and 24 lines."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(follower)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "top", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    try:
        yield Terminal(leader, process)
        assert termios.tcgetattr(follower) == before
    finally:
        process.kill()
        process.wait(30)
        os.close(leader)
        os.close(follower)


def test_it_draws_redraws_and_puts_the_terminal_back(ledger: Ledger, tmp_path: Path) -> None:
    """The other screen is entered, new calls appear in it, and q leaves it with the terminal as it was."""
    with terminal(str(tmp_path / "ledger")) as term:
        term.until(ENTER, b"\x1b[7mprincipal", b"ann ")
        ledger.append(call("bob"))
        term.until(b"bob ")
        os.write(term.leader, b"q")
        term.until(LEAVE)
        assert term.process.wait(30) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_puts_the_terminal_back(
    number: signal.Signals, status: int, ledger: Ledger, tmp_path: Path
) -> None:
    """Ctrl-C ends it well; so, for the terminal, does being told to stop."""
    with terminal(str(tmp_path / "ledger")) as term:
        term.until(b"ann ")
        term.process.send_signal(number)
        term.until(b"\x1b[?25h", LEAVE)
        assert term.process.wait(30) == status


def test_it_fits_the_window_whatever_its_size_becomes(ledger: Ledger, tmp_path: Path) -> None:
    """After the window is made smaller no line is longer than it, and none stands below it."""
    with terminal(str(tmp_path / "ledger"), "--interval", "1h") as term:
        term.until(b"ann ")
        term.resize(40, 4)
        frame = term.until(b"\x1b[J").rpartition(b"\x1b[H")[2].partition(b"\x1b[J")[0]
        shown = [line.replace(b"\x1b[7m", b"").replace(b"\x1b[0m", b"") for line in frame.split(b"\x1b[K")]
        assert [line.strip()[:9].rstrip() for line in shown if line.strip()][2:] == [b"principal", b"ann"]
        assert max(len(line.strip()) for line in shown) <= 40
        os.write(term.leader, b"q")
        assert term.process.wait(30) == 0


def test_no_color_is_honoured(ledger: Ledger, tmp_path: Path) -> None:
    """With NO_COLOR nothing is in reverse."""
    with terminal(str(tmp_path / "ledger"), NO_COLOR="1") as term:
        assert b"\x1b[7m" not in term.until(b"ann ")
        os.write(term.leader, b"q")
        assert term.process.wait(30) == 0


def test_a_program_gets_an_object_for_each_look(ledger: Ledger, tmp_path: Path) -> None:
    """--json prints one line for each interval, until it is interrupted, which is a good end."""
    command = [sys.executable, "-c", PROGRAM, "top", str(tmp_path / "ledger"), "--json", "--by", "model"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        first = json.loads(process.stdout.readline())
        ledger.append(call(reason="RATE", units=0))
        while (then := json.loads(process.stdout.readline()))["total"]["calls"] == 1:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert (first["by"], [row["model"] for row in first["rows"]]) == ("model", ["digits"])
    assert (then["total"]["calls"], then["total"]["refused"]) == (2, 1)


def test_once_looks_once(ledger: Ledger, tmp_path: Path, run: Run) -> None:
    """One table, or one object, without a terminal; calls before the window are not in it."""
    ledger.wait(ledger.append({**call("old"), "time": stamp(time.time() - 600)}))
    said = run("top", tmp_path / "ledger", "--once")
    assert said.status == 0
    assert "ann " in said.out
    assert "old" not in said.out
    assert "\x1b" not in said.out
    told = json.loads(run("top", tmp_path / "ledger", "--once", "--json", "--window", "1h").out)
    assert [row["principal"] for row in told["rows"]] == ["ann", "old"]


def test_the_ledger_of_a_configuration(made: Path, run: Run) -> None:
    """A guardhouse.yaml says where its ledger is."""
    book = Ledger(made / "ledger")
    book.append(call())
    book.close()
    assert json.loads(run("top", made / "guardhouse.yaml", "--once", "--json").out)["total"]["calls"] == 1


def test_lines_that_are_none_are_passed_over(ledger: Ledger, tmp_path: Path, run: Run) -> None:
    """Garbage on the ledger is not counted and stops nothing."""
    ledger.close()
    with (tmp_path / "ledger/ledger.jsonl").open("ab") as file:
        file.write(b"garbage\n[1]\n\xff\n3\n" + json.dumps(call("bob")).encode() + b"\n")
    told = json.loads(run("top", tmp_path / "ledger", "--once", "--json").out)
    assert [row["principal"] for row in told["rows"]] == ["ann", "bob"]


def test_without_a_ledger_it_says_so(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to do, and exit code 2."""
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["nowhere"]):
        said = run("top", *arguments)
        assert (said.status, said.out) == (2, "")
        assert "name its folder or file" in said.err
