"""Where it is kept what has been spent: in memory, in SQLite, in Redis. All of them keep one promise.

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

    def entries(self) -> Iterator[Entry]:
        """All accounts, those past their end included, in the order of name and window."""

    def reset(self, name: str) -> int:
        """Forget what was spent from accounts called *name*, in all windows; how many there were."""

    def close(self) -> None:
        """Let go of files and connections; idempotent."""
