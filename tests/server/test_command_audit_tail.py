"""`guardhouse audit tail` on real ledgers: what is there, what comes, what no line does to a terminal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import guardhouse.interceptors
import guardhouse.protos
import guardhouse.server
from guardhouse.server.audit.lines import as_line, as_text, escape

from .ledgers import QUERY, audit, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger", *(QUERY | {"model": f"m{number}"} for number in range(30)))


def test_tail_shows_the_newest_entries(path: Path) -> None:
    """One line each, oldest first, as many as asked for."""
    *lines, stop = audit("tail", path, "--last", 3).output.splitlines()
    who = "spiffe://acme/ns/ml/sa/notebook"
    assert lines == [
        f"2026-11-23T18:09:50.123456Z  OK                     1.2 ms  {who}  ModelInfer  m{number}:1  -"
        for number in (28, 29)
    ]
    assert stop.split()[1] == "stop"
    assert len(audit("tail", path).output.splitlines()) == 20
    assert len(audit("tail", path, "-n", 100).output.splitlines()) == 33
    assert audit("tail", path, "-n", 0).output == ""


def test_tail_reads_long_files_from_their_end(tmp_path: Path) -> None:
    """Lines that span what is read at once are put together again."""
    path = write(tmp_path, *(QUERY | {"note": "x" * 50_000, "model": f"m{number}"} for number in range(5)))
    lines = audit("tail", path, "-n", 4, "--json").output.splitlines()
    assert [json.loads(line)["model"] for line in lines[:-1]] == ["m2", "m3", "m4"]


def test_tail_as_json_gives_the_entries(path: Path) -> None:
    """Each line is the entry as JSON, also where the file holds something else."""
    with path.open("ab") as file:
        file.write(b"\xff\x1b[2J\n")
    entry, _, other = map(json.loads, audit("tail", path, "-n", 3, "--json").output.splitlines())
    assert entry["model"] == "m29"
    assert other == {"kind": "unreadable", "text": "\\xff\x1b[2J"}


def line(**facts: object) -> bytes:
    body = json.dumps(QUERY | facts)[:-1]
    return f'{body},"seq":1,"prev":"00"}}'.encode()


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\r\nb", "\u2028", "\u202eevil", "\x9b2J", "\x07", "\u200b", "\ufeff", "\x7f"]
)
def test_no_entry_can_command_the_terminal(text: str) -> None:
    """Controls, line ends and direction marks are shown escaped, whichever member holds them."""
    for name in ("principal", "method", "model", "status", "reason", "time", "kind"):
        shown = click.unstyle(as_text(line(**{name: text})))
        assert text not in shown
        assert all(char.isprintable() for char in shown)
        assert as_line(line(**{name: text})).isascii()


def test_escape_leaves_plain_text_alone() -> None:
    """Letters of any script stay readable."""
    assert escape("Zoë 日本 \ud800") == "Zoë 日本 \\ud800"


def test_other_kinds_and_odd_members_are_shown_too() -> None:
    """Genesis and gap entries show their members; missing or mistyped members never stop the listing."""
    gap = b'{"kind":"gap","time":"T","reason":"file gone","last":7,"seq":1,"prev":"00"}'
    assert click.unstyle(as_text(gap)) == "T  gap  reason=file gone last=7"
    bare = b'{"kind":"query","status":7,"model":["a"],"total_us":"x","seq":1,"prev":"00"}'
    assert click.unstyle(as_text(bare)).split() == ["-", "7", "-", "-", "-", '["a"]', "-"]
    assert "not a ledger line: x\\x1b" in click.unstyle(as_text(b"x\x1b"))


def test_refusals_have_a_colour_of_their_own() -> None:
    """On a terminal, answers, refusals and failures differ at a glance."""
    assert "\x1b[32m" in as_text(line(status="OK"))
    assert "\x1b[33m" in as_text(line(status="PERMISSION_DENIED"))
    assert "\x1b[31m" in as_text(line(status="INTERNAL"))


def test_follow_prints_new_entries_until_interrupted(tmp_path: Path) -> None:
    """What is appended appears, also after the file was replaced; Ctrl-C ends it without an error."""
    path = write(tmp_path / "ledger", QUERY)
    parts = (guardhouse.interceptors, guardhouse.protos, guardhouse.server)
    roots = [Path(next(iter(part.__path__))).parents[1] for part in parts]
    program = "from guardhouse.server.commands import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "audit", "tail", "--follow", "--json", "-n", "2", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots))},
    ) as process:
        assert process.stdout

        def run() -> list[str]:
            """What it says of one run of a ledger, up to its stop."""
            said = []
            while not said or said[-1] != "stop":
                entry = json.loads(process.stdout.readline())
                said.append(entry.get("model") or entry["kind"])
            return said

        assert run() == ["digits", "stop"]
        write(path.parent, QUERY | {"model": "second"})
        assert run() == ["start", "second", "stop"]
        path.unlink()
        write(path.parent, QUERY | {"model": "third"})
        assert run() == ["genesis", "start", "third", "stop"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
