"""Every tampering is found, at its place or right after it."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.ledger import verify as ledger_verify
from guardhouse.interceptors.ledger.chain import (
    NO_HASH,
    START,
    Link,
    Scheme,
    bind,
    digest_by,
    encode,
    gap,
)
from guardhouse.interceptors.ledger.chain import genesis as genesis_of
from guardhouse.interceptors.ledger.verify import read_lines, verify

NOON = "2026-11-23T12:00:00.000000Z"
digest = digest_by(b"")


def genesis(chain: str, time: str) -> dict[str, object]:
    """The first entry of a plain chain."""
    return genesis_of(Scheme(), chain, time)


def one(body: bytes, after: Link) -> bytes:
    """The line that carries *body* and follows *after*."""
    [line], _ = bind([body], after, digest)
    return line


def chain(length: int, name: str = "a" * 32, after: Link = START) -> list[bytes]:
    """*length* lines of a chain, the first its genesis entry where nothing comes before."""
    lines = []
    for number in range(length):
        first = after == START
        query: dict[str, object] = {"kind": "query", "time": NOON, "model": f"m{number}", "of": name[0]}
        entry = genesis(name, NOON) if first else query
        line = one(encode(entry), after)
        after = Link(after.sequence + 1, digest(line))
        lines.append(line + b"\n")
    return lines


def found(lines: list[bytes]) -> tuple[int, str] | None:
    """Line number and kind of the first fault."""
    bad = verify(lines).bad
    return (bad.line, bad.what) if bad else None


LENGTHS = st.integers(min_value=1, max_value=12)


@given(LENGTHS)
def test_an_untouched_ledger_is_intact(length: int) -> None:
    """What was written verifies, and the verdict names its end."""
    lines = chain(length)
    verdict = verify(lines)
    assert verdict.intact
    assert verdict.bad is None
    assert (verdict.count, verdict.first, verdict.last) == (length, 1, length)
    assert verdict.chain == "a" * 32
    assert verdict.head == digest(lines[-1][:-1])


@given(LENGTHS, st.data())
def test_any_changed_byte_is_found(length: int, data: st.DataObject) -> None:
    """A byte changed in line n is blamed on line n; in the last line, it at least changes the head."""
    lines = chain(length)
    number = data.draw(st.integers(0, length - 1))
    position = data.draw(st.integers(0, len(lines[number]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[number][position]))
    head = verify(lines).head
    lines[number] = lines[number][:position] + bytes([other]) + lines[number][position + 1 :]
    verdict = verify(io.BytesIO(b"".join(lines)))
    if number == length - 1:
        assert verdict.bad or verdict.head != head
    else:
        assert verdict.bad
        # The one case without a third line to tell: the last line's prev, or the line before it.
        assert verdict.bad.line in ({number + 1} | ({number} if number + 2 == length else set()))


@given(LENGTHS, st.data())
def test_a_deleted_line_is_found(length: int, data: st.DataObject) -> None:
    """The line that took its place is named; cut from the end, only the head tells."""
    lines = chain(length + 1)
    number, head = data.draw(st.integers(0, length)), verify(lines).head
    del lines[number]
    verdict = verify(lines)
    assert verdict.head != head or verdict.bad
    if number < length:
        assert found(lines) == (number + 1, "missing")


@given(st.integers(3, 12), st.data())
def test_swapped_lines_are_found(length: int, data: st.DataObject) -> None:
    """Two lines that changed places are named from the first place on."""
    lines = chain(length)
    one = data.draw(st.integers(1, length - 2))
    two = data.draw(st.integers(one + 1, length - 1))
    lines[one], lines[two] = lines[two], lines[one]
    assert found(lines) == (one + 1, "out of order")


@given(LENGTHS, st.data())
def test_a_repeated_line_is_found(length: int, data: st.DataObject) -> None:
    """A line copied to any later place is a duplicate there."""
    lines = chain(length)
    number = data.draw(st.integers(0, length - 1))
    place = data.draw(st.integers(number + 1, length))
    lines.insert(place, lines[number])
    assert found(lines) == (place + 1, "mixed files" if number == 0 else "duplicate")


@given(LENGTHS, st.binary(max_size=30).filter(lambda piece: b"\n" not in piece), st.data())
def test_an_inserted_line_is_found(length: int, piece: bytes, data: st.DataObject) -> None:
    """A line that is no ledger line is named at its place, and its neighbours are not blamed."""
    lines = chain(length)
    place = data.draw(st.integers(1, length))
    lines.insert(place, piece + b"\n")
    verdict = verify(lines)
    assert [(fault.line, fault.what) for fault in verdict.faults] == [(place + 1, "not a ledger line")]


@given(st.integers(2, 12), st.data())
def test_a_forged_line_that_fits_its_predecessor_is_found(length: int, data: st.DataObject) -> None:
    """A forged line with the right number and hash is found by the true line that follows it."""
    lines = chain(length)
    place = data.draw(st.integers(1, length - 1))
    before = Link(place, digest(lines[place - 1][:-1]))
    lines.insert(place, one(encode({"kind": "query", "model": "forged"}), before) + b"\n")
    assert found(lines) == (place + 2, "duplicate")


@given(st.integers(2, 12), st.integers(1, 200))
def test_a_torn_last_line_is_told(length: int, cut: int) -> None:
    """A line without its end is named; those before it count as whole."""
    data = b"".join(chain(length))
    last = len(data) - data[:-1].rfind(b"\n") - 1
    verdict = verify(io.BytesIO(data[: -min(cut, last - 1)]))
    assert verdict.bad
    assert (verdict.bad.line, verdict.bad.what) == (length, "torn last line")
    assert verdict.count == length - 1


def replace(entry: dict[str, object], **facts: object) -> list[bytes]:
    return [one(encode(entry | facts), START) + b"\n"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], (1, "missing")),
        (chain(3)[1:], (1, "missing")),
        (chain(3, after=Link(0, "b" * 64)), (1, "missing")),
        (chain(2) + chain(3, "b" * 32), (3, "mixed files")),
        (chain(4)[:2] + chain(4, "b" * 32)[2:], (2, "changed")),
        (replace(genesis("a" * 32, NOON), scheme="none"), (1, "weaker scheme")),
        (replace(genesis("a" * 32, NOON), scheme=None), (1, "weaker scheme")),
        (replace(genesis("a" * 32, NOON), version=0), (1, "unknown version")),
    ],
)
def test_whole_file_faults(lines: list[bytes], expected: tuple[int, str]) -> None:
    """A missing beginning, lines of two chains, a weaker scheme: each has its name."""
    assert found(lines) == expected


def test_a_change_hidden_by_a_recomputed_hash_moves_to_the_next_line() -> None:
    """Mending the next line's prev leaves that line changed in turn, unless the whole rest is rewritten."""
    lines = chain(5)
    lines[2] = lines[2].replace(b"m2", b"mX")
    lines[3] = lines[3].replace(lines[3][-67:-3], digest(lines[2][:-1]).encode())
    assert found(lines) == (4, "changed")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: lines.pop(3),
        lambda lines: lines.insert(3, b"x\n"),
        lambda lines: lines.insert(3, lines[2]),
        lambda lines: lines.__setitem__(3, lines[3].replace(b"m3", b"mX")),
        lambda lines: lines.__setitem__(3, lines[3].replace(b'"seq":4', b'"seq":9')),
        lambda lines: lines.__setitem__(3, lines[3][:9] + b"\n"),
    ],
)
def test_one_tampering_is_one_fault(tamper: Callable[[list[bytes]], object]) -> None:
    """After a fault the walk finds its place again: the rest of the file is not blamed."""
    lines = chain(40)
    tamper(lines)
    assert verify(lines).fault_count == 1


def test_faults_are_listed_up_to_a_bound_and_all_counted() -> None:
    """A file of nonsense fills no memory."""
    verdict = verify([b"x\n"] * 1000)
    assert (len(verdict.faults), verdict.fault_count) == (20, 1000)
    assert (verdict.count, verdict.last, verdict.head) == (0, 0, NO_HASH)


def test_an_earlier_file_can_be_continued() -> None:
    """A file that goes on where another ended verifies against that end, and against no other."""
    lines = chain(6)
    end = Link(3, digest(lines[2][:-1]))
    assert verify(lines[3:], after=end).intact
    assert not verify(lines[3:], after=Link(3, "0" * 64)).intact
    assert not verify(lines[4:], after=end).intact


def test_gaps_that_the_ledger_recorded_are_told_and_are_no_fault() -> None:
    """A gap entry is a line like another; the verdict points to it."""
    lines = chain(2)
    body = encode(gap("torn line cut off", NOON, bytes=9))
    lines.append(one(body, Link(2, digest(lines[1][:-1]))) + b"\n")
    verdict = verify(lines)
    assert verdict.intact
    assert [(it.line, it.detail) for it in verdict.gaps] == [(3, "torn line cut off")]


def test_a_line_without_end_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is one endless line is not taken into memory whole."""
    monkeypatch.setattr(ledger_verify, "LONGEST_LINE", 8)
    pieces = list(read_lines(io.BytesIO(b"x" * 20)))
    assert [len(piece) for piece in pieces] == [8, 8, 4]
    assert [fault.what for fault in verify(pieces).faults] == ["not a ledger line"] * 2 + ["torn last line"]
