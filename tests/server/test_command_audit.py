"""`guardhouse audit` on real ledgers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import guardhouse.interceptors
import guardhouse.protos
import guardhouse.server
from guardhouse.interceptors.ledger import Ledger
from guardhouse.server.commands.audit import as_line, as_text, command, escape

QUERY: dict[str, object] = {
    "kind": "query",
    "time": "2026-11-23T18:09:50.123456Z",
    "method": "inference.GRPCInferenceService/ModelInfer",
    "model": "digits",
    "version": "1",
    "principal": "spiffe://acme/ns/ml/sa/notebook",
    "status": "OK",
    "reason": "",
    "total_us": 1234,
}


def write(folder: Path, *entries: dict[str, object]) -> Path:
    ledger = Ledger(folder)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    return folder / "ledger.jsonl"


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger", *(QUERY | {"model": f"m{number}"} for number in range(30)))


def tamper(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"m7", b"mX"))


def test_verify_says_intact_with_the_head(path: Path) -> None:
    """An intact ledger exits 0 and names count, last seq and head, and what a file alone cannot show."""
    for place in (path, path.parent):
        result = audit("verify", place)
        assert result.exit_code == 0
        assert f"{path}: intact" in result.output
        assert "31 lines, seq 1 to 31" in result.output
        assert "head: seq 31, " in result.output
        assert "cut at the end" in result.output


def test_verify_names_the_first_bad_record(path: Path) -> None:
    """A changed record exits 1 and is named."""
    tamper(path)
    result = audit("verify", path)
    assert result.exit_code == 1
    assert "BROKEN" in result.output
    assert "line 9 (seq 9): changed" in result.output


def test_verify_as_json(path: Path) -> None:
    """A program reads the same facts."""
    good: dict[str, Any] = json.loads(audit("verify", path, "--json").output)
    assert (good["intact"], good["lines"], good["last"], good["faults"]) == (True, 31, 31, [])
    tamper(path)
    result = audit("verify", path, "--json")
    bad: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == 1
    assert (bad["intact"], bad["fault_count"], bad["head"]) == (False, 1, good["head"])
    assert (bad["faults"][0]["line"], bad["faults"][0]["seq"], bad["faults"][0]["what"]) == (9, 9, "changed")


def test_verify_tells_of_a_torn_line_and_of_the_gap_after_it(path: Path) -> None:
    """A torn end is a fault until the next start; then it is a gap on record."""
    with path.open("ab") as file:
        file.write(b'{"kind":"que')
    torn = audit("verify", path)
    assert torn.exit_code == 1
    assert "line 32: torn last line" in torn.output
    write(path.parent)
    mended = audit("verify", path)
    assert mended.exit_code == 0
    assert "line 32 (seq 32): gap: torn line cut off (recorded by the ledger itself)" in mended.output


def test_verify_counts_faults_that_it_does_not_list(tmp_path: Path) -> None:
    """A file of nonsense makes a short report."""
    nonsense = tmp_path / "x.jsonl"
    nonsense.write_bytes(b"\x1b[2J\n" * 100)
    result = audit("verify", nonsense)
    assert result.exit_code == 1
    assert "and 80 more" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("name", ["verify", "tail"])
def test_nothing_to_read_exits_2(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing ledger is one line on stderr that says what to do."""
    monkeypatch.chdir(tmp_path)
    for arguments in ([name], [name, "nowhere"], [name, str(tmp_path)]):
        result = audit(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert "name its folder or file" in result.stderr


@pytest.mark.parametrize("place", ["ledger", ".demo/ledger"])
def test_the_path_can_be_left_out(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a server started here, or of the demonstration, is found."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / place, QUERY)
    assert audit("verify").exit_code == 0
    assert "digits:1" in audit("tail").output


def test_tail_shows_the_newest_entries(path: Path) -> None:
    """One line each, oldest first, as many as asked for."""
    lines = audit("tail", path, "--last", 2).output.splitlines()
    who = "spiffe://acme/ns/ml/sa/notebook"
    assert lines == [
        f"2026-11-23T18:09:50.123456Z  OK                     1.2 ms  {who}  ModelInfer  m{number}:1  -"
        for number in (28, 29)
    ]
    assert len(audit("tail", path).output.splitlines()) == 20
    assert len(audit("tail", path, "-n", 100).output.splitlines()) == 31
    assert audit("tail", path, "-n", 0).output == ""


def test_tail_reads_long_files_from_their_end(tmp_path: Path) -> None:
    """Lines that span what is read at once are put together again."""
    path = write(tmp_path, *(QUERY | {"note": "x" * 50_000, "model": f"m{number}"} for number in range(5)))
    lines = audit("tail", path, "-n", 3, "--json").output.splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["m2", "m3", "m4"]


def test_tail_as_json_gives_the_entries(path: Path) -> None:
    """Each line is the entry as JSON, also where the file holds something else."""
    with path.open("ab") as file:
        file.write(b"\xff\x1b[2J\n")
    entry, other = map(json.loads, audit("tail", path, "-n", 2, "--json").output.splitlines())
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
        [sys.executable, "-c", program, "audit", "tail", "--follow", "--json", "-n", "1", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots))},
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["model"] == "digits"
        write(path.parent, QUERY | {"model": "second"})
        assert json.loads(process.stdout.readline())["model"] == "second"
        path.unlink()
        write(path.parent, QUERY | {"model": "third"})
        assert json.loads(process.stdout.readline())["kind"] == "genesis"
        assert json.loads(process.stdout.readline())["model"] == "third"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
