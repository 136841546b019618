"""Is a ledger as it was written? A pure walk along the lines of its files, in their order."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from .chain import (
    GAP,
    GENESIS,
    KEYED,
    NO_HASH,
    ROTATION,
    START,
    START_ENTRY,
    Digest,
    Line,
    Link,
    Scheme,
    digest_by,
    parse,
    scheme_of,
)
from .demands import BLINDING, Demands, complaint
from .keys import CHECKPOINT, is_signed
from .verdict import TORN, Finding, Findings, Verdict

__all__ = ["LONGEST_LINE", "Demands", "Finding", "Verdict", "read_lines", "verify", "verify_files"]

LONGEST_LINE: Final = 16 << 20
"""Bytes; a longer line is not ours, and is not taken into memory whole."""

_ASIDE: Final = re.compile(r"ledger-([0-9]+)-.*")


def verify(lines: Iterable[bytes], after: Link | None = START, demands: Demands = Demands()) -> Verdict:  # noqa: B008
    """Walk the *lines* of one file, each with its newline as files yield them, and say what is wrong.

    *after* is the place that the first line must follow: the start of a chain, or the end of an earlier file.
    None: wherever its rotation entry says.
    """
    return verify_files([("", lines)], after, demands)


def verify_files(
    files: Iterable[tuple[str, Iterable[bytes]]],
    after: Link | None = START,
    demands: Demands = Demands(),  # noqa: B008
) -> Verdict:
    """The same for all the files of a ledger, by name, oldest first."""
    walk = _Walk(demands, after, link=after or START, digest=digest_by(demands.key))
    for name, lines in files:
        for number, line in enumerate(lines, 1):
            walk.step((name, number), line)
    return walk.verdict()


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of *file* with their newlines, in pieces where one is longer than `LONGEST_LINE`."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


Place = tuple[str, int]
"""A file, and a line in it from 1."""


@dataclass(slots=True)
class _Walk:
    demands: Demands
    after: Link | None
    link: Link
    digest: Digest
    place: Place = ("", 0)
    before: Place = ("", 0)
    count: int = 0
    chain: str = ""
    scheme: Scheme | None = None
    first: int = 0
    signed: int = 0
    blind: bool = False  # no hash can be checked
    loose: bool = False  # the line before was none of ours: it may have stood for one of ours
    doubt: Finding | None = None  # "changed", but this line or the one before? The next line tells
    absent: range = field(default_factory=lambda: range(0))
    faults: Findings = field(default_factory=Findings)
    gaps: Findings = field(default_factory=Findings)

    def step(self, place: Place, raw: bytes) -> None:
        self.before, self.place = self.place, place
        line = parse(raw[:-1]) if raw.endswith(b"\n") else None
        if line is None:
            self._foreign(raw)
            return
        self.count += 1
        loose, self.loose = self.loose, False
        if not self.blind:
            self._take(line, raw[:-1], loose)
        self.first = self.first or line.sequence

    def _take(self, line: Line, raw: bytes, loose: bool) -> None:
        kind = line.entry.get("kind")
        self._check_name(line)
        if self.before == ("", 0) or kind == GENESIS:
            self._begin(line)
        if kind in (GENESIS, ROTATION):
            self._note_scheme(line)
        if self.blind:
            return
        self._settle(line)
        if self._follows(line, loose):
            self.link = Link(line.sequence, self.digest(raw))
            self._compare_anchor()
        if kind == CHECKPOINT:
            self._check_signature(line, raw)
        elif kind in (GAP, START_ENTRY):
            self._note_gap(line)

    def _foreign(self, raw: bytes) -> None:
        """A line that is none of ours. The one after it is then not blamed for not fitting it."""
        self._add(self.doubt)
        if raw.endswith(b"\n") or len(raw) >= LONGEST_LINE:
            self._fault(None, "not a ledger line", "it is not JSON that ends in seq and prev")
        else:
            self._fault(None, TORN, "it has no end: the writer was stopped in the middle of it")
        self.loose = True

    def _check_name(self, line: Line) -> None:
        """A file that was set aside has the number of its first line in its name."""
        name, number = self.place
        found = _ASIDE.fullmatch(name) if number == 1 else None
        if found and int(found[1]) != line.sequence:
            detail = f"the file's name says that it begins at seq {int(found[1])}"
            self._fault(line.sequence, "mixed files", detail)

    def _begin(self, line: Line) -> None:
        """The very first line, or a genesis entry wherever it stands."""
        kind = line.entry.get("kind")
        if self.before != ("", 0):
            self._add(self.doubt)
            self._fault(line.sequence, "mixed files", "another chain begins here")
            self.link, self.scheme = START, None
        elif kind != GENESIS and self.after in (START, None):
            if kind != ROTATION or self.after == START:
                detail = f"the ledger begins at seq {line.sequence}, without its genesis entry"
                self._fault(line.sequence, "missing", detail)
            self.link = Link(line.sequence - 1, line.prev)

    def _note_scheme(self, line: Line) -> None:
        """What the first entry of a file says of the chain: enough, and the same as in the file before?"""
        self.chain = self.chain or str(line.entry.get("chain", ""))
        scheme = scheme_of(line.entry)
        if self.scheme is not None:
            if scheme != self.scheme:
                self._fault(
                    line.sequence, "scheme change", "it names another scheme or key than the chain's first"
                )
            return
        self.scheme = scheme
        wrong = complaint(line.entry, scheme, self.demands)
        if wrong:
            self._fault(line.sequence, *wrong)
            self.blind = wrong[0] in BLINDING
        self.digest = digest_by(self.demands.key if scheme.name == KEYED else b"")

    def _settle(self, line: Line) -> None:
        """Decide a doubt: if this line fits the newer of the two, the older is the one that was changed."""
        doubt = self.doubt
        if doubt is None:
            return
        if line.prev == self.link.digest or line.sequence != self.link.sequence + 1:
            self._add(doubt)
            return
        self.doubt = None
        self._fault(self.link.sequence, "changed", "it fits neither of its neighbours", self.before)
        self.link = Link(self.link.sequence, line.prev)

    def _follows(self, line: Line, loose: bool) -> bool:
        """Whether this line takes its place as the newest; faults are noted on the way."""
        expected, fits = self.link.sequence + 1, line.prev == self.link.digest
        if line.sequence != expected:
            return self._misnumbered(line, expected) if fits else self._misplaced(line, expected, loose)
        if not fits and not loose:
            file, number = self.before
            self.doubt = Finding(number, expected - 1, "changed", "the line after it does not fit it", file)
        return True

    def _misnumbered(self, line: Line, expected: int) -> bool:
        self._fault(
            line.sequence, "changed", f"it follows seq {expected - 1} and yet is not numbered {expected}"
        )
        self.link, self.loose = Link(expected, NO_HASH), True
        return False

    def _misplaced(self, line: Line, expected: int, loose: bool) -> bool:
        """Neither its number nor its hash is what should stand here."""
        if line.sequence > expected + loose:
            last = line.sequence - 1
            gone = f"seq {expected}" if last == expected else f"seq {expected} to {last}"
            self._fault(line.sequence, "missing", f"{gone} should stand before it")
            self.absent = range(expected, line.sequence)
        elif line.sequence in self.absent:
            self._moved(line.sequence)
        elif line.sequence < expected:
            self._fault(line.sequence, "duplicate", "another line with this seq came before")
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
        self._fault(sequence, "out of order", "it belongs further up")

    def _compare_anchor(self) -> None:
        anchor = self.demands.anchor
        if anchor and anchor.sequence == self.link.sequence and anchor != self.link:
            detail = (
                "it is not the line that the anchor names: history was rewritten, or an old copy put back"
            )
            self._fault(anchor.sequence, "rolled back", detail)

    def _check_signature(self, line: Line, raw: bytes) -> None:
        """A checkpoint vouches for the line right before it, and through its hash for all before that."""
        signer = self.scheme.signer if self.scheme else self.demands.signer
        names = (line.entry.get("last"), line.entry.get("head")) == (line.sequence - 1, line.prev)
        if names and is_signed(raw, signer):
            self.signed = line.sequence - 1
        else:
            self._fault(line.sequence, "forged checkpoint", "its signature is not one by the chain's signer")

    def _note_gap(self, line: Line) -> None:
        if line.entry.get("kind") == GAP:
            what, detail = GAP, str(line.entry.get("reason", ""))
        elif line.entry.get("closed") is False:
            what, detail = (
                START_ENTRY,
                "the run before it was not closed: lines of its last moment may be lost",
            )
        else:
            return
        file, number = self.place
        self.gaps.add(Finding(number, line.sequence, what, detail, file))

    def _fault(self, sequence: int | None, what: str, detail: str, place: Place | None = None) -> None:
        file, number = place or self.place
        self._add(Finding(number, sequence, what, detail, file))

    def _add(self, fault: Finding | None) -> None:
        if fault is None:
            return
        if fault is self.doubt:
            self.doubt = None
        self.faults.add(fault)

    def _end(self) -> None:
        """What only shows once all lines were seen."""
        self._add(self.doubt)
        anchor, last = self.demands.anchor, self.link.sequence if self.count else 0
        if not (self.count or self.faults.count):
            detail = "there is no line, not even the genesis entry"
            self._fault(None, "missing", detail, (self.place[0], 1))
        if self.blind:
            return
        if anchor and last < anchor.sequence:
            self._fault(
                last or None, "cut tail", f"the anchor names seq {anchor.sequence}, and this is the end"
            )
        if self.demands.signer and self.scheme and self.scheme.signer and not self.signed:
            self._fault(last or None, "unsigned", "there is no checkpoint by the signer up to here")

    def verdict(self) -> Verdict:
        self._end()
        return Verdict(
            count=self.count,
            chain=self.chain,
            scheme=self.scheme.name if self.scheme else "",
            first=self.first,
            last=self.link.sequence if self.count else 0,
            head=self.link.digest if self.count else NO_HASH,
            signed=self.signed,
            faults=tuple(self.faults.kept),
            fault_count=self.faults.count,
            gaps=tuple(self.gaps.kept),
            gap_count=self.gaps.count,
        )
