"""The head outside of the ledger: a cut tail and an old copy are found, by verify and at the next start."""

import logging
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from guardhouse.interceptors.ledger import Ledger, LedgerError
from guardhouse.interceptors.ledger.anchor import disagreement, parse_anchor, read_anchor
from guardhouse.interceptors.ledger.chain import Link

from .ledgers import KEY, QUERY, SIGNER, first_fault, verdict_of, write

NAME = "ledger.jsonl"
HASH = "ab" * 32


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere" / "ledger.anchor"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def cut(path: Path, count: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-count]))


def test_the_anchor_holds_the_head(folder: Path, anchor: Path) -> None:
    """After a run the anchor names the last line; only its owner can read it."""
    write(folder, anchor=anchor)
    verdict = verdict_of(folder)
    assert read_anchor(anchor) == Link(verdict.last, verdict.head)
    assert stat.S_IMODE(anchor.stat().st_mode) == 0o600
    assert list(anchor.parent.iterdir()) == [anchor]
    assert verdict_of(folder, anchor=read_anchor(anchor)).intact


def test_a_run_under_way_is_anchored(folder: Path, anchor: Path) -> None:
    """The anchor follows the head while the ledger is written, at most once a second by its clock."""
    now = 100.0
    ledger = Ledger(folder, anchor=anchor, flush_seconds=0.001, clock=lambda: now)
    first = read_anchor(anchor)
    assert first == ledger.head
    assert ledger.wait(ledger.append(QUERY), timeout=30)
    assert read_anchor(anchor) == first
    now += 1.0
    number = ledger.append(QUERY)
    ledger.wait(number, timeout=30)
    ledger.wait(ledger.append(QUERY), timeout=30)  # its group comes after the anchor of the one before
    found = read_anchor(anchor)
    assert found
    assert found.sequence >= number
    ledger.close()


OPTIONS = [{}, {"key": KEY}, {"signer": SIGNER}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "keyed", "signed"])
def test_a_cut_tail_is_found(folder: Path, anchor: Path, options: dict) -> None:
    """Lines cut from the end show by the anchor, and by nothing else."""
    write(folder, anchor=anchor, **options)
    cut(folder / NAME, 2)
    key = {"key": KEY} if "key" in options else {}
    assert verdict_of(folder, **key).intact
    bad = verdict_of(folder, anchor=read_anchor(anchor), **key).bad
    assert bad
    assert bad.what == "cut tail"


def test_an_old_copy_is_found(folder: Path, anchor: Path) -> None:
    """A copy put back that has since gone on with other lines is named at the line of the anchor."""
    write(folder)
    old = (folder / NAME).read_bytes()
    write(folder, count=1, anchor=anchor)
    noted = read_anchor(anchor)
    assert noted
    (folder / NAME).write_bytes(old)
    assert first_fault(verdict_of(folder, anchor=noted)) == (NAME, 6, 6, "cut tail")
    write(folder, count=20)
    assert verdict_of(folder).intact
    at = noted.sequence
    assert first_fault(verdict_of(folder, anchor=noted)) == (NAME, at, at, "rolled back")


def test_a_changed_last_line_is_found(folder: Path, anchor: Path) -> None:
    """The one line that no other line vouches for is vouched for by the anchor."""
    write(folder, anchor=anchor)
    path = folder / NAME
    path.write_bytes(path.read_bytes().replace(b'"kind":"stop"', b'"kind":"halt"'))
    assert verdict_of(folder).intact
    assert first_fault(verdict_of(folder, anchor=read_anchor(anchor))) == (NAME, 6, 6, "rolled back")


def remove(folder: Path) -> None:
    (folder / NAME).unlink()


def change(folder: Path) -> None:
    (folder / NAME).write_bytes((folder / NAME).read_bytes().replace(b'"kind":"stop"', b'"kind":"halt"'))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: cut(folder / NAME, 1), "it ends at seq 5, its anchor says 6"),
        (remove, "it ends at seq 0"),
        (change, "another history was put in its place"),
    ],
    ids=["cut", "removed", "changed"],
)
def test_a_ledger_behind_its_anchor_is_not_opened(
    folder: Path, anchor: Path, harm: Callable[[Path], None], words: str
) -> None:
    """The next start is refused in words that say what happened, and the anchor is left as evidence."""
    write(folder, anchor=anchor)
    before = anchor.read_bytes()
    harm(folder)
    with pytest.raises(LedgerError, match=words):
        Ledger(folder, anchor=anchor)
    assert anchor.read_bytes() == before


def test_an_anchor_that_cannot_be_written_costs_no_line(
    folder: Path, anchor: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other disk may be away: it is logged once, and the ledger goes on."""
    anchor.parent.rmdir()
    with caplog.at_level(logging.ERROR):
        write(folder, anchor=anchor)
    assert verdict_of(folder).intact
    assert [record.message for record in caplog.records] == [
        f"cannot write the ledger's anchor {anchor}: No such file or directory"
    ]


@pytest.mark.parametrize(
    "text", ["", "7", f"0:{HASH}", f"-1:{HASH}", f"7:{HASH}0", f"7:{HASH.upper()}", f"7 {HASH}", "\x1b[2J"]
)
def test_what_is_no_anchor_is_refused(folder: Path, anchor: Path, text: str) -> None:
    """A damaged anchor is not taken for none."""
    with pytest.raises(ValueError, match="is not SEQ:HASH"):
        parse_anchor(text)
    anchor.write_text(text)
    with pytest.raises(LedgerError, match="is not SEQ:HASH"):
        Ledger(folder, anchor=anchor)


def test_what_an_anchor_can_object_to() -> None:
    """Nothing against a ledger that is where it was or has gone on; something against all others."""
    anchor = Link(7, HASH)
    assert not disagreement(Link(9, "cd" * 32), anchor)
    assert not disagreement(anchor, anchor)
    assert not disagreement(anchor, None)
    assert disagreement(Link(6, HASH), anchor)
    assert disagreement(Link(7, "cd" * 32), anchor)
