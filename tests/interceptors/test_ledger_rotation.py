"""Files of a ledger that are full or old enough are set aside; the chain goes on through all of them."""

import math
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.rotation import File, Limits, file_of, is_due, name_aside

from .ledgers import KEY, QUERY, SIGNER, entries_of, files_of, first_fault, verdict_of, write

SMALL = Limits(size=1000)


def fill(folder: Path, **options) -> list[Path]:
    """A ledger of several files; those set aside."""
    now = 0.0
    ledger = Ledger(folder, rotation=SMALL, flush_seconds=0.0, clock=lambda: now, **options)
    for _ in range(40):
        ledger.wait(ledger.append(QUERY), timeout=30)
    ledger.close()
    return files_of(folder)[:-1]


@pytest.mark.parametrize("options", [{}, {"key": KEY, "signer": SIGNER}], ids=["plain", "keyed and signed"])
def test_the_chain_goes_on_across_files(tmp_path: Path, options: dict) -> None:
    """Every line is in one of the files, in order; each file but the first says which one it follows."""
    aside = fill(tmp_path, **options)
    assert len(aside) > 2
    assert verdict_of(tmp_path, key=options.get("key", b"")).intact
    entries = entries_of(tmp_path)
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(entry["kind"] == "query" for entry in entries) == 40
    first = [path.read_bytes().splitlines()[0] for path in files_of(tmp_path)]
    assert b'"kind":"genesis"' in first[0]
    for path, line in zip(aside, first[1:], strict=True):
        assert b'{"kind":"rotation"' in line
        assert f'"previous":"{path.name}"'.encode() in line


def test_a_file_set_aside_is_read_only(tmp_path: Path) -> None:
    """Its mode is 0400, its name says where it begins; the file that is written stays 0600."""
    aside = fill(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in aside} == {0o400}
    assert stat.S_IMODE((tmp_path / "ledger.jsonl").stat().st_mode) == 0o600
    assert aside[0].name == "ledger-000000000001-1970-01-01T000000Z.jsonl"


def test_an_old_file_is_set_aside_while_nothing_is_written(tmp_path: Path) -> None:
    """Age is that of the first line, also across a restart, and counts without any call."""
    now = 1000.0
    ledger = Ledger(tmp_path, rotation=Limits(age=60), clock=lambda: now)
    ledger.close()
    now += 61
    ledger = Ledger(tmp_path, rotation=Limits(age=60), clock=lambda: now)
    assert ledger.wait(5, timeout=30)
    ledger.close()
    kinds = [entry["kind"] for entry in entries_of(tmp_path)]
    assert kinds == ["genesis", "start", "stop", "start", "rotation", "stop"]
    assert len(files_of(tmp_path)) == 2
    assert verdict_of(tmp_path).intact


@pytest.mark.parametrize(
    ("last", "size", "now", "due"),
    [
        (9, 99, 159.0, False),
        (9, 100, 101.0, True),
        (9, 1, 160.0, True),
        (1, 100, 160.0, False),
    ],
    ids=["neither", "full", "old", "nothing but its first line"],
)
def test_when_a_file_is_set_aside(last: int, size: int, now: float, due: bool) -> None:
    """Full or old, and with something in it."""
    assert is_due(File(1, 100.0), last, size, now, Limits(100, 60.0)) is due
    assert not is_due(File(1, 100.0), last, size, now, Limits(math.inf, math.inf))


def test_names_sort_in_the_order_of_the_chain() -> None:
    """Also where the numbers have different lengths, and the clock went backward."""
    names = [
        name_aside(File(first, 0), f"20{60 - first % 7}-01-01T00:00:00.0Z") for first in (1, 9, 10, 12345)
    ]
    assert names == sorted(names)
    assert file_of(b"no line", 7, 5.0) == File(7, 5.0)


def test_a_crash_between_two_files_is_mended(tmp_path: Path) -> None:
    """With the old file set aside and the new one missing or empty, the next start goes on."""
    for empty in (False, True):
        folder = tmp_path / str(empty)
        write(folder)
        (folder / "ledger.jsonl").rename(folder / "ledger-000000000001-x.jsonl")
        if empty:
            (folder / "ledger.jsonl").touch()
        write(folder)
        rotation = entries_of(folder)[6]
        assert (rotation["kind"], rotation["previous"]) == ("rotation", "ledger-000000000001-x.jsonl")
        assert verdict_of(folder).intact


def test_rotation_never_writes_over_a_file(tmp_path: Path) -> None:
    """A file in the way is trouble until it is gone; then nothing is missing."""
    ledger = Ledger(tmp_path, rotation=SMALL, flush_seconds=0.0, clock=lambda: 0.0)
    in_the_way = tmp_path / "ledger-000000000001-1970-01-01T000000Z.jsonl"
    in_the_way.mkdir()
    while ledger.healthy:
        ledger.append(QUERY)
        time.sleep(0.001)
    assert "is in the way of rotation: move it away" in ledger.trouble
    in_the_way.rmdir()
    while not ledger.healthy:
        time.sleep(0.001)
    ledger.close()
    assert in_the_way.is_file()
    assert verdict_of(tmp_path).intact


def missing(aside: list[Path]) -> None:
    aside[1].unlink()


def swapped(aside: list[Path]) -> None:
    one, two, aside_name = aside[0], aside[1], aside[0].with_name("x")
    one.rename(aside_name)
    two.rename(one)
    aside_name.rename(two)


def duplicated(aside: list[Path]) -> None:
    aside[1].with_name(aside[1].name.replace("T000000Z", "T000001Z")).write_bytes(aside[1].read_bytes())


def foreign(aside: list[Path]) -> None:
    other = aside[0].parent / "other"
    content = [path.read_bytes() for path in fill(other)]
    aside[1].unlink()
    aside[1].write_bytes(content[1])


def first_missing(aside: list[Path]) -> None:
    aside[0].unlink()


@pytest.mark.parametrize(
    ("harm", "file", "what"),
    [
        (missing, 2, "missing"),
        (first_missing, 1, "missing"),
        (swapped, 0, "mixed files"),
        (duplicated, 2, "duplicate"),
        (foreign, 0, "changed"),
    ],
)
def test_files_that_are_not_the_ledgers_are_found(
    tmp_path: Path, harm: Callable[[list[Path]], None], file: int, what: str
) -> None:
    """A file missing, in another's place, there twice, or of another ledger is named."""
    aside = fill(tmp_path)
    harm(aside)
    bad = verdict_of(tmp_path).bad
    assert bad
    assert bad.what == what
    if what != "duplicate":
        assert bad.file == aside[file].name
    assert first_fault(verdict_of(tmp_path))
