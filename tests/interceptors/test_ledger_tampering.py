"""Any single change to a ledger of several files, keyed or signed or neither, is found."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.chain import START, Link
from guardhouse.interceptors.ledger.rotation import Limits
from guardhouse.interceptors.ledger.verify import Demands, Verdict, verify_files

from .ledgers import KEY, QUERY, SIGNER, files_of

Files = list[tuple[str, list[bytes]]]
KINDS = {
    "plain": ({}, Demands()),
    "keyed": ({"key": KEY}, Demands(key=KEY)),
    "signed": ({"signer": SIGNER}, Demands(signer=SIGNER.public)),
}


@pytest.fixture(scope="module", params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Demands]:
    """The files of a ledger of two runs, and what is to be demanded of it, without an anchor."""
    options, demands = KINDS[request.param]
    folder: Path = tmp_path_factory.mktemp("ledger")
    for _ in range(2):
        book = Ledger(folder, rotation=Limits(size=1500), flush_seconds=0.0, clock=lambda: 0.0, **options)
        for number in range(12):
            book.wait(book.append(QUERY | {"model": f"m{number}"}), timeout=30)
        book.close()
    return [(path.name, path.read_bytes().splitlines(keepends=True)) for path in files_of(folder)], demands


def judge(files: Files, demands: Demands) -> Verdict:
    return verify_files(files, START, demands)


def flip(lines: list[bytes], at: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(lines[at]) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    line = bytearray(lines[at])
    line[position] ^= bit
    lines[at] = bytes(line)


def delete(lines: list[bytes], at: int, data: st.DataObject) -> None:
    del lines[at]


def duplicate(lines: list[bytes], at: int, data: st.DataObject) -> None:
    lines.insert(data.draw(st.integers(at, len(lines))), lines[at])


def swap(lines: list[bytes], at: int, data: st.DataObject) -> None:
    if len(lines) == 1:
        del lines[at]
        return
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda number: number != at))
    lines[at], lines[other] = lines[other], lines[at]


def insert(lines: list[bytes], at: int, data: st.DataObject) -> None:
    lines.insert(at, data.draw(st.binary(max_size=40).filter(lambda piece: b"\n" not in piece)) + b"\n")


def cut(lines: list[bytes], at: int, data: st.DataObject) -> None:
    """All from a place in a line on, up to the end of the file."""
    lines[at:] = [lines[at][: data.draw(st.integers(0, len(lines[at]) - 1))]]
    if not lines[-1]:
        del lines[-1]


MUTATIONS = [flip, delete, duplicate, swap, insert, cut]


@pytest.mark.parametrize("mutate", MUTATIONS)
@given(data=st.data())
def test_any_single_change_is_found(
    ledger: tuple[Files, Demands],
    mutate: Callable[[list[bytes], int, st.DataObject], None],
    data: st.DataObject,
) -> None:
    """With the anchor always. Without it but for two: whole lines cut from the end, a changed last line."""
    whole, demands = ledger
    good = judge(whole, demands)
    assert good.intact
    files = [(name, list(lines)) for name, lines in whole]
    name, lines = files[data.draw(st.integers(0, len(files) - 1))]
    at = data.draw(st.integers(0, len(lines) - 1))
    mutate(lines, at, data)
    anchor = Link(good.last, good.head)
    assert not judge(files, demands._replace(anchor=anchor)).intact
    if judge(files, demands).intact:
        assert name == "ledger.jsonl"
        assert lines[: len(whole[-1][1]) - 1] == whole[-1][1][: len(lines)][: len(whole[-1][1]) - 1]


@given(data=st.data())
def test_the_first_bad_record_is_where_the_change_is(
    ledger: tuple[Files, Demands], data: st.DataObject
) -> None:
    """A changed member is blamed on its line, whichever of the files it stands in."""
    whole, demands = ledger
    files = [(name, list(lines)) for name, lines in whole]
    name, lines = files[data.draw(st.integers(0, len(files) - 2))]
    at = data.draw(st.sampled_from([at for at, line in enumerate(lines) if b'"kind":"query"' in line]))
    lines[at] = lines[at].replace(b"OK", b"ok")
    bad = judge(files, demands).bad
    assert bad
    assert (bad.file, bad.line, bad.what) == (name, at + 1, "changed")
