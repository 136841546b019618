"""Is a ledger as it was written? A pure walk along its lines; no keys, no files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from .chain import GAP, GENESIS, NO_HASH, SCHEME, START, VERSION, Line, Link, digest, parse

LONGEST_LINE = 16 << 20
"""Bytes; a longer line is not ours, and is not taken into memory whole."""

_KEPT = 20  # faults and gaps listed one by one; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a gap that the ledger itself recorded: where (line from 1; number, if known), what, why."""

    line: int
    sequence: int | None
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. The head (hash of the last whole line) is to be compared with one noted elsewhere:
    lines cut from the end, or a change of the last line, cannot be seen from the file alone."""

    count: int  # whole ledger lines
    chain: str  # id from the genesis entry, "" where there is none
    first: int  # sequence numbers of the first and last line, 0 where there is none
    last: int
    head: str
    faults: tuple[Finding, ...]  # in file order, at most 20
    fault_count: int
    gaps: tuple[Finding, ...]
    gap_count: int

    @property
    def intact(self) -> bool:
        return not self.fault_count

    @property
    def bad(self) -> Finding | None:
        """The first bad record, if any."""
        return self.faults[0] if self.faults else None


def verify(lines: Iterable[bytes], after: Link = START) -> Verdict:
    """Walk *lines*, each with its newline as files yield them, and say what is wrong, if anything.

    *after* is the place that the first line must follow: the end of an earlier file, or the start of a chain.
    """
    walk = _Walk(link=after)
    for number, line in enumerate(lines, 1):
        walk.step(number, line)
    return walk.verdict()


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of *file* with their newlines, in pieces where one is longer than `LONGEST_LINE`."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


@dataclass(slots=True)
class _Walk:
    link: Link
    count: int = 0
    chain: str = ""
    first: int = 0
    loose: bool = False  # the line before was none of ours: it may have stood for one of ours
    doubt: Finding | None = None  # "changed", but this line or the one before? The next line tells
    absent: range = field(default_factory=lambda: range(0))
    faults: list[Finding] = field(default_factory=list)
    fault_count: int = 0
    gaps: list[Finding] = field(default_factory=list)
    gap_count: int = 0

    def step(self, number: int, raw: bytes) -> None:
        line = parse(raw[:-1]) if raw.endswith(b"\n") else None
        if line is None:
            self._foreign(number, raw)
            return
        loose, self.loose = self.loose, False
        if number == 1 or line.entry.get("kind") == GENESIS:
            self._begin(number, line)
        self._settle(number, line)
        if self._follows(number, line, loose):
            self.link = Link(line.sequence, digest(raw[:-1]))
        self.count += 1
        self.first = self.first or line.sequence
        self._note_gap(number, line)

    def _foreign(self, number: int, raw: bytes) -> None:
        """A line that is none of ours. The one after it is then not blamed for not fitting it."""
        self._add(self.doubt)
        if raw.endswith(b"\n") or len(raw) >= LONGEST_LINE:
            self._fault(number, None, "not a ledger line", "it is not JSON that ends in seq and prev")
        else:
            self._fault(
                number, None, "torn last line", "it has no end: the writer was stopped in the middle of it"
            )
        self.loose = True

    def _begin(self, number: int, line: Line) -> None:
        """The first line of the file, or a genesis entry wherever it stands."""
        if line.entry.get("kind") != GENESIS:
            if self.link == START:
                detail = f"the file begins at seq {line.sequence}, without its genesis entry"
                self._fault(number, line.sequence, "missing", detail)
                self.link = Link(line.sequence - 1, line.prev)
            return
        if number > 1:
            self._add(self.doubt)
            self._fault(number, line.sequence, "mixed files", "another chain begins here")
            self.link = START
        self.chain = self.chain or str(line.entry.get("chain", ""))
        if line.entry.get("version") != VERSION:
            self._fault(number, line.sequence, "unknown version", f"this program knows version {VERSION}")
        elif line.entry.get("scheme") != SCHEME:
            self._fault(number, line.sequence, "weaker scheme", f"only {SCHEME} is accepted here")

    def _settle(self, number: int, line: Line) -> None:
        """Decide a doubt: if this line fits the newer of the two, the older is the one that was changed."""
        doubt = self.doubt
        if doubt is None:
            return
        if line.prev == self.link.digest or line.sequence != self.link.sequence + 1:
            self._add(doubt)
            return
        self.doubt = None
        self._fault(number - 1, self.link.sequence, "changed", "it fits neither of its neighbours")
        self.link = Link(self.link.sequence, line.prev)

    def _follows(self, number: int, line: Line, loose: bool) -> bool:
        """Whether this line takes its place as the newest; faults are noted on the way."""
        expected, fits = self.link.sequence + 1, line.prev == self.link.digest
        if line.sequence != expected:
            return (
                self._misnumbered(number, line, expected)
                if fits
                else self._misplaced(number, line, expected, loose)
            )
        if not fits and not loose:
            self.doubt = Finding(number - 1, expected - 1, "changed", "the line after it does not fit it")
        return True

    def _misnumbered(self, number: int, line: Line, expected: int) -> bool:
        detail = f"it follows seq {expected - 1} and yet is not numbered {expected}"
        self._fault(number, line.sequence, "changed", detail)
        self.link, self.loose = Link(expected, NO_HASH), True
        return False

    def _misplaced(self, number: int, line: Line, expected: int, loose: bool) -> bool:
        """Neither its number nor its hash is what should stand here."""
        if line.sequence > expected + loose:
            last = line.sequence - 1
            gone = f"seq {expected}" if last == expected else f"seq {expected} to {last}"
            self._fault(number, line.sequence, "missing", f"{gone} should stand before it")
            self.absent = range(expected, line.sequence)
        elif line.sequence in self.absent:
            self._moved(number, line.sequence)
        elif line.sequence < expected:
            self._fault(number, line.sequence, "duplicate", "another line with this seq came before")
        return line.sequence > expected

    def _moved(self, number: int, sequence: int) -> None:
        """A line that was missed further up. The gap that it left was then no deletion."""
        latest = self.faults[-1]
        if latest.what == "missing" and self.fault_count == len(self.faults):
            detail = f"seq {sequence}, which belongs before it, is on line {number}"
            self.faults[-1] = Finding(latest.line, latest.sequence, "out of order", detail)
        self._fault(number, sequence, "out of order", "it belongs further up")

    def _note_gap(self, number: int, line: Line) -> None:
        if line.entry.get("kind") == GAP:
            self.gap_count += 1
            if len(self.gaps) < _KEPT:
                self.gaps.append(Finding(number, line.sequence, GAP, str(line.entry.get("reason", ""))))

    def _fault(self, line: int, sequence: int | None, what: str, detail: str) -> None:
        self._add(Finding(line, sequence, what, detail))

    def _add(self, fault: Finding | None) -> None:
        if fault is None:
            return
        if fault is self.doubt:
            self.doubt = None
        self.fault_count += 1
        if len(self.faults) < _KEPT:
            self.faults.append(fault)

    def verdict(self) -> Verdict:
        self._add(self.doubt)
        if not self.count and not self.faults:
            self._fault(1, None, "missing", "there is no line, not even the genesis entry")
        return Verdict(
            count=self.count,
            chain=self.chain,
            first=self.first,
            last=self.link.sequence if self.count else 0,
            head=self.link.digest if self.count else NO_HASH,
            faults=tuple(self.faults),
            fault_count=self.fault_count,
            gaps=tuple(self.gaps),
            gap_count=self.gap_count,
        )
