"""What was found when a ledger was verified."""

from dataclasses import dataclass, field
from typing import Final

TORN: Final = "torn last line"
_KEPT: Final = 20  # findings listed one by one; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a gap that the ledger itself recorded: where (line from 1; number, if known), what, why."""

    line: int
    sequence: int | None
    what: str
    detail: str
    file: str = ""


@dataclass(slots=True)
class Findings:
    """The first of them, and how many there are."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, finding: Finding) -> None:
        self.count += 1
        if len(self.kept) < _KEPT:
            self.kept.append(finding)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found.

    Without an anchor, lines cut from the end do not show, nor does a change of the last line: the head (hash
    of the last whole line) is then to be compared with one noted elsewhere.
    """

    count: int  # whole ledger lines
    chain: str  # id from the genesis entry, "" where there is none
    scheme: str  # "" where no entry names it
    first: int  # sequence numbers of the first and last line, 0 where there is none
    last: int
    head: str
    signed: int  # the newest line that a checkpoint vouches for, 0 for none
    faults: tuple[Finding, ...]  # in file order, at most 20
    fault_count: int
    gaps: tuple[Finding, ...]
    gap_count: int

    @property
    def intact(self) -> bool:
        return not self.fault_count

    @property
    def torn(self) -> bool:
        """Whether nothing is wrong but the end: a writer was stopped in the middle of its last line."""
        return self.fault_count == 1 and self.faults[0].what == TORN

    @property
    def bad(self) -> Finding | None:
        """The first bad record, if any."""
        return self.faults[0] if self.faults else None
