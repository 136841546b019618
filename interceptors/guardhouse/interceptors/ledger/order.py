"""Does each line of a ledger follow the one before? Numbers and hashes alone, in one pass."""

from dataclasses import dataclass, field
from typing import Final

from .chain import NO_HASH, Digest, Line, Link
from .verdict import TORN, Finding, Findings

LONGEST_LINE: Final = 16 << 20
"""Bytes; a longer line is not ours, and is not taken into memory whole."""

Place = tuple[str, int]
"""A file, and a line in it from 1."""
NOWHERE: Final = ("", 0)


@dataclass(slots=True)
class Order:
    """Finds its place again after a fault, so that one tampering is blamed once, on its own line.

    *link* is the place that the next line must follow.
    """

    link: Link
    digest: Digest
    faults: Findings = field(default_factory=Findings)
    place: Place = NOWHERE  # of the present line
    before: Place = NOWHERE  # of the line before it, whatever that was
    loose: bool = False  # the line before was none of ours: it may have stood for one of ours
    doubt: Finding | None = None  # "changed", but this line or the one before? The next line tells
    absent: range = field(default_factory=lambda: range(0))

    def move(self, place: Place) -> None:
        """Go on to the line at *place*."""
        self.before, self.place = self.place, place

    def foreign(self, raw: bytes) -> None:
        """A line that is none of ours. The one after it is then not blamed for not fitting it."""
        self.end()
        if raw.endswith(b"\n") or len(raw) >= LONGEST_LINE:
            self.fault(None, "not a ledger line", "it is not JSON that ends in seq and prev")
        else:
            self.fault(None, TORN, "it has no end: the writer was stopped in the middle of it")
        self.loose = True

    def take(self, line: Line, raw: bytes) -> bool:
        """Whether *line*, which reads *raw*, takes its place as the newest; faults are noted on the way."""
        loose, self.loose = self.loose, False
        self._settle(line)
        taken = self._follows(line, loose)
        if taken:
            self.link = Link(line.sequence, self.digest(raw))
        return taken

    def fault(self, sequence: int | None, what: str, detail: str, place: Place | None = None) -> None:
        """Note a fault of the present line, or of that at *place*."""
        file, number = place or self.place
        self.faults.add(Finding(number, sequence, what, detail, file))

    def end(self) -> None:
        """Nothing comes that could decide a doubt."""
        if self.doubt:
            self.faults.add(self.doubt)
            self.doubt = None

    def _settle(self, line: Line) -> None:
        """Decide a doubt: if this line fits the newer of the two, the older is the one that was changed."""
        if self.doubt is None:
            return
        if line.prev == self.link.digest or line.sequence != self.link.sequence + 1:
            self.end()
            return
        self.doubt = None
        self.fault(self.link.sequence, "changed", "it fits neither of its neighbours", self.before)
        self.link = Link(self.link.sequence, line.prev)

    def _follows(self, line: Line, loose: bool) -> bool:
        expected, fits = self.link.sequence + 1, line.prev == self.link.digest
        if line.sequence != expected:
            return self._misnumbered(line, expected) if fits else self._misplaced(line, expected, loose)
        if not fits and not loose:
            file, number = self.before
            self.doubt = Finding(number, expected - 1, "changed", "the line after it does not fit it", file)
        return True

    def _misnumbered(self, line: Line, expected: int) -> bool:
        detail = f"it follows seq {expected - 1} and yet is not numbered {expected}"
        self.fault(line.sequence, "changed", detail)
        self.link, self.loose = Link(expected, NO_HASH), True
        return False

    def _misplaced(self, line: Line, expected: int, loose: bool) -> bool:
        """Neither its number nor its hash is what should stand here."""
        if line.sequence > expected + loose:
            last = line.sequence - 1
            gone = f"seq {expected}" if last == expected else f"seq {expected} to {last}"
            self.fault(line.sequence, "missing", f"{gone} should stand before it")
            self.absent = range(expected, line.sequence)
        elif line.sequence in self.absent:
            self._moved(line.sequence)
        elif line.sequence < expected:
            self.fault(line.sequence, "duplicate", "another line with this seq came before")
        return line.sequence > expected

    def _moved(self, sequence: int) -> None:
        """A line that was missed further up. The gap that it left was then no deletion."""
        kept = self.faults.kept
        latest = kept[-1]
        if latest.what == "missing" and self.faults.count == len(kept):
            file, number = self.place
            where = f"line {number} of {file}" if file != latest.file else f"line {number}"
            detail = f"seq {sequence}, which belongs before it, is on {where}"
            kept[-1] = Finding(latest.line, latest.sequence, "out of order", detail, latest.file)
        self.fault(sequence, "out of order", "it belongs further up")
