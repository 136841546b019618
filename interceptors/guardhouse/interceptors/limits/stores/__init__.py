"""Where it is kept what was used of limits: in memory, in SQLite, in Redis. All of them keep one promise.

Units are whole numbers. What is taken counts as spent at once, whether it is used or not: who takes and is
killed has paid. So whatever happens, in any number of processes, no more than `Account.limit` is ever taken
and not given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

# Seconds an account is kept after its end, and after it was last touched: clocks differ, and are set back.
GRACE: Final = 86_400.0


class Account(NamedTuple):
    """One budget of one holder, in one window.

    Attributes:
        name: Whose and which: the same text is the same account, in every process. Printable, up to 1 KiB.
        window: Which hour, day or month: "2026-11-25T14", "2026-11-25", "2026-11". Up to 64 printable
            characters, no "@". Name and window make the account; limit and end are what is said of it now.
        limit: Units that may be spent in the window, 1 to 2**53 - 1.
        ends: When the window ends, in seconds since the epoch.
    """

    name: str
    window: str
    limit: int
    ends: float


class Want(NamedTuple):
    """Units to take from *account*: as many as there are, at least *least*, at most *most*, 0 or more."""

    account: Account
    least: int
    most: int


class Short(NamedTuple):
    """Nothing was taken: *account* has but *left* units."""

    account: Account
    left: int


class Entry(NamedTuple):
    """What is known of one account. *limit* is that of the newest `take`."""

    name: str
    window: str
    limit: int
    spent: int
    ends: float


class Drip(NamedTuple):
    """Units to draw from a rate (GCRA): as many as pass at once, at least *least*, at most *most*.

    Attributes:
        name: Whose and which: the same text is the same rate, in every process. As that of an account.
        interval: Seconds that one unit costs, above 0.
        tolerance: Seconds of units that may be drawn at once: the burst times the interval, above 0.
        least: 1 or more; more than the burst will never pass.
        most: Not less, up to 2**53 - 1, as is the burst.
    """

    name: str
    interval: float
    tolerance: float
    least: int
    most: int


class Drawn(NamedTuple):
    """What a rate gave.

    Attributes:
        units: How many; 0 where fewer than *least* would pass.
        wait: Seconds until *least* would pass, if nobody else draws; 0.0 where they have, `inf` where they
            never will.
        left: Units that would still pass at once.
    """

    units: int
    wait: float
    left: int


class Hold(NamedTuple):
    """*slots* (0 to *limit*) that one process wants to have in all, of those that all may have together.

    The name is as that of an account, the limit 1 to 2**53 - 1.
    """

    name: str
    limit: int
    slots: int


class StoreError(Exception):
    """The store did not do what it was asked, as far as is known. The text is for the operator alone."""


class UnaskedError(StoreError):
    """The store was not even asked: nothing has happened."""


class Store(Protocol):
    """Used from any thread, not across a fork. May block, for as long as it says.

    Raises:
        StoreError: From every verb, for whatever goes wrong outside.
        ValueError: What is asked cannot be (see `checks`); nothing was done. That is the asker's mistake.
    """

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """Take from all accounts, no two of them one, in a step that nobody sees half done; or from none.

        The units taken, in the order of *wants*; or the first account that has too little. A limit lower
        than what is spent leaves nothing. Where this fails with StoreError it may have happened all the
        same: then it is spent.
        """

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """Give back what was taken and not used, 0 or more units each.

        Never makes more of an account than its limit: what was spent falls to 0 and no further, and an
        account that has been forgotten stays so. After a StoreError do not try again, but for UnaskedError:
        what was given twice would be what somebody else has taken.
        """

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """Draw from every rate what it gives, each by itself, no two of them one; in the order of *drips*.

        In any time, and any number of processes, at most the burst and what the rate gives in that time.
        Nothing is ever given back, so a rate that has told to wait has told the truth until then. Where this
        fails with StoreError it may have happened all the same: then it is drawn.

        By the store's own clock. That clock set back makes nobody richer, and nobody waits for it to catch
        up; set ahead, it fills up each rate as that time would. What was drawn stays so where the interval or
        the tolerance of a name change: it is counted in units. A rate that is full again is forgotten.
        """

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """Say how many slots *process* has of each name from now on, for so many *seconds*; how many it has.

        As many as those of all others, whose time is not over, leave under the limit: all that are held
        together are never more. So fewer than before, or as many, are always granted, but where the limit is
        lower than it was, or the time of *process* was over. It says what is, not what changes: said twice it
        is the same, so it may be tried again after any StoreError. A process that says nothing more has none
        once its time is over; it should count that time from before it asked.

        Args:
            process: Up to 64 printable characters, no blank; no two processes have the same.
            holds: No two of one name.
            seconds: Above 0, up to a day, by the store's own clock. One that is set back does not make it
                longer; where it is set ahead, time is over early.
        """

    def entries(self) -> Iterator[Entry]:
        """All accounts, those past their end included, in the order of name and window."""

    def reset(self, name: str) -> int:
        """Forget what was spent from accounts called *name*, in all windows; how many there were."""

    def close(self) -> None:
        """Let go of files and connections; idempotent."""
