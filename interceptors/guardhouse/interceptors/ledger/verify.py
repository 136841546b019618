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
    Line,
    Link,
    Scheme,
    digest_by,
    parse,
    scheme_of,
)
from .demands import BLINDING, Demands, complaint
from .keys import CHECKPOINT, is_signed
from .order import LONGEST_LINE, NOWHERE, Order, Place
from .verdict import Finding, Findings, Verdict

__all__ = ["LONGEST_LINE", "Demands", "Finding", "Verdict", "read_lines", "verify", "verify_files"]

NOTHING: Final = Demands()
_ASIDE: Final = re.compile(r"ledger-([0-9]+)-.*")


def verify(lines: Iterable[bytes], after: Link | None = START, demands: Demands = NOTHING) -> Verdict:
    """Walk the *lines* of one file, each with its newline as files yield them, and say what is wrong.

    *after* is the place that the first line must follow: the start of a chain, or the end of an earlier file.
    None: wherever its rotation entry says.
    """
    return verify_files([("", lines)], after, demands)


def verify_files(
    files: Iterable[tuple[str, Iterable[bytes]]], after: Link | None = START, demands: Demands = NOTHING
) -> Verdict:
    """The same for all the files of a ledger, by name, oldest first."""
    walk = _Walk(demands, after, Order(after or START, digest_by(demands.key)))
    for name, lines in files:
        for number, line in enumerate(lines, 1):
            walk.step((name, number), line)
    return walk.verdict()


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of *file* with their newlines, in pieces where one is longer than `LONGEST_LINE`."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


@dataclass(slots=True)
class _Walk:
    demands: Demands
    after: Link | None
    order: Order
    count: int = 0
    chain: str = ""
    scheme: Scheme | None = None
    first: int = 0
    signed: int = 0
    blind: bool = False  # no hash can be checked
    gaps: Findings = field(default_factory=Findings)

    def step(self, place: Place, raw: bytes) -> None:
        self.order.move(place)
        line = parse(raw[:-1]) if raw.endswith(b"\n") else None
        if line is None:
            self.order.foreign(raw)
            return
        self.count += 1
        self.first = self.first or line.sequence
        if not self.blind:
            self._take(line, raw[:-1])

    def _take(self, line: Line, raw: bytes) -> None:
        kind = line.entry.get("kind")
        self._check_name(line)
        if self.order.before == NOWHERE or kind == GENESIS:
            self._begin(line)
        if kind in (GENESIS, ROTATION):
            self._note_scheme(line)
        if self.blind:
            return
        if self.order.take(line, raw):
            self._compare_anchor()
        if kind == CHECKPOINT:
            self._check_signature(line, raw)
        elif kind in (GAP, START_ENTRY):
            self._note_gap(line)

    def _check_name(self, line: Line) -> None:
        """A file that was set aside has the number of its first line in its name."""
        name, number = self.order.place
        found = _ASIDE.fullmatch(name) if number == 1 else None
        if found and int(found[1]) != line.sequence:
            detail = f"the file's name says that it begins at seq {int(found[1])}"
            self.order.fault(line.sequence, "mixed files", detail)

    def _begin(self, line: Line) -> None:
        """The very first line, or a genesis entry wherever it stands."""
        kind = line.entry.get("kind")
        if self.order.before != NOWHERE:
            self.order.end()
            self.order.fault(line.sequence, "mixed files", "another chain begins here")
            self.order.link, self.scheme = START, None
        elif kind != GENESIS and self.after in (START, None):
            if kind != ROTATION or self.after == START:
                detail = f"the ledger begins at seq {line.sequence}, without its genesis entry"
                self.order.fault(line.sequence, "missing", detail)
            self.order.link = Link(line.sequence - 1, line.prev)

    def _note_scheme(self, line: Line) -> None:
        """What the first entry of a file says of the chain: enough, and the same as in the file before?"""
        self.chain = self.chain or str(line.entry.get("chain", ""))
        scheme = scheme_of(line.entry)
        if self.scheme is not None:
            if scheme != self.scheme:
                detail = "it names another scheme or key than the chain's first line"
                self.order.fault(line.sequence, "scheme change", detail)
            return
        self.scheme = scheme
        wrong = complaint(line.entry, scheme, self.demands)
        if wrong:
            self.order.fault(line.sequence, *wrong)
            self.blind = wrong[0] in BLINDING
        self.order.digest = digest_by(self.demands.key if scheme.name == KEYED else b"")

    def _compare_anchor(self) -> None:
        anchor, link = self.demands.anchor, self.order.link
        if anchor and anchor.sequence == link.sequence and anchor != link:
            detail = (
                "it is not the line that the anchor names: history was rewritten, or an old copy put back"
            )
            self.order.fault(anchor.sequence, "rolled back", detail)

    def _check_signature(self, line: Line, raw: bytes) -> None:
        """A checkpoint vouches for the line right before it, and through its hash for all before that."""
        signer = self.scheme.signer if self.scheme else self.demands.signer
        if self.scheme is None and not self.demands.signer:
            return  # the line that names the signer is gone, which was told; nobody can tell who signed this
        names = (line.entry.get("last"), line.entry.get("head")) == (line.sequence - 1, line.prev)
        if names and is_signed(raw, signer):
            self.signed = line.sequence - 1
        else:
            detail = "its signature is not one by the chain's signer over the line before"
            self.order.fault(line.sequence, "forged checkpoint", detail)

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
        file, number = self.order.place
        self.gaps.add(Finding(number, line.sequence, what, detail, file))

    def _end(self) -> None:
        """What only shows once all lines were seen."""
        order, anchor = self.order, self.demands.anchor
        order.end()
        last = order.link.sequence if self.count else 0
        if not (self.count or order.faults.count):
            detail = "there is no line, not even the genesis entry"
            order.fault(None, "missing", detail, (order.place[0], 1))
        if self.blind:
            return
        if anchor and last < anchor.sequence:
            detail = f"the anchor names seq {anchor.sequence}, and this is the end"
            order.fault(last or None, "cut tail", detail)
        if self.demands.signer and self.scheme and self.scheme.signer and not self.signed:
            order.fault(last or None, "unsigned", "there is no checkpoint by the signer up to here")

    def verdict(self) -> Verdict:
        self._end()
        faults, link = self.order.faults, self.order.link
        return Verdict(
            count=self.count,
            chain=self.chain,
            scheme=self.scheme.name if self.scheme else "",
            first=self.first,
            last=link.sequence if self.count else 0,
            head=link.digest if self.count else NO_HASH,
            signed=self.signed,
            faults=tuple(faults.kept),
            fault_count=faults.count,
            gaps=tuple(self.gaps.kept),
            gap_count=self.gaps.count,
        )
