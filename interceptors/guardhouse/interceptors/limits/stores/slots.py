"""How many slots a process has: the decision of a `hold`, without the keeping."""

from __future__ import annotations

from . import Hold


def granted(hold: Hold, others: int) -> int:
    """Slots of all that *hold* wants, where *others* have so many."""
    return max(0, min(hold.slots, hold.limit - others))
