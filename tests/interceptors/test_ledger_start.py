"""What a ledger does with what it finds in its folder when it starts."""

import os
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardhouse.interceptors.ledger import Ledger, LedgerError
from guardhouse.interceptors.ledger.verify import Verdict, verify

QUERY: dict[str, object] = {"kind": "query", "model": "digits", "status": "OK"}


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines()]


def verdict_of(folder: Path) -> Verdict:
    return verify((folder / "ledger.jsonl").read_bytes().splitlines(keepends=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.mark.parametrize(
    "torn",
    [b'{"kind":"query","mod', b"\0" * 700, b"garbage\nx\n"],
    ids=["half a line", "zeros after a power cut", "whole lines that are not ours"],
)
def test_a_torn_end_is_set_aside_and_recorded(folder: Path, torn: bytes) -> None:
    """What stands behind the last whole line is kept in a file of its own, and a gap entry says so."""
    ledger = Ledger(folder)
    ledger.append(QUERY)
    ledger.close()
    with (folder / "ledger.jsonl").open("ab") as file:
        file.write(torn)
    ledger = Ledger(folder, clock=lambda: 0.0)
    ledger.append(QUERY)
    ledger.close()
    assert verdict_of(folder).intact
    gap = next(entry for entry in entries_of(folder) if entry["kind"] == "gap")
    assert (gap["kind"], gap["reason"], gap["bytes"]) == ("gap", "torn line cut off", len(torn))
    kept = folder / gap["kept_in"]
    assert kept.name == "ledger.jsonl.torn-1970-01-01T000000.000000Z"
    assert kept.read_bytes() == torn
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_torn_genesis_entry_begins_a_new_chain(folder: Path) -> None:
    """A first line that was never finished is set aside too."""
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").write_bytes(b'{"kind":"gene')
    Ledger(folder).close()
    assert [entry["kind"] for entry in entries_of(folder)] == ["genesis", "gap", "start", "stop"]
    assert verdict_of(folder).intact


def foreign(folder: Path) -> None:
    (folder / "ledger.jsonl").write_bytes(b"a diary\nof somebody else\n")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "ledger.jsonl")


def link(folder: Path) -> None:
    (folder / "elsewhere").write_bytes(b"")
    (folder / "ledger.jsonl").symlink_to(folder / "elsewhere")


@pytest.mark.parametrize("prepare", [foreign, fifo, link, lambda folder: (folder / "ledger.jsonl").mkdir()])
def test_what_is_no_ledger_is_left_alone(folder: Path, prepare: Any) -> None:
    """A foreign file, a pipe, a symbolic link and a folder in its place are refused in one line."""
    folder.mkdir(parents=True)
    prepare(folder)
    with pytest.raises(LedgerError) as caught:
        Ledger(folder)
    assert "\n" not in str(caught.value)
    assert "ledger.jsonl" in str(caught.value)
    if prepare is foreign:
        assert (folder / "ledger.jsonl").read_bytes() == b"a diary\nof somebody else\n"


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The path of the ledger must be a folder, or free for one."""
    (tmp_path / "ledger").write_text("")
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        Ledger(tmp_path / "ledger")


def test_a_last_line_longer_than_what_is_read_at_once(folder: Path) -> None:
    """An entry of a megabyte is a line like another, also as the one to go on from."""
    ledger = Ledger(folder)
    ledger.append(QUERY | {"note": "x" * 1_000_000})
    ledger.close()
    Ledger(folder).close()
    assert verdict_of(folder).intact
