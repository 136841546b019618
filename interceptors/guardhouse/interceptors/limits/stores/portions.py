"""How much each account gives: the decision of a `take`, without the keeping."""

from __future__ import annotations

from collections.abc import Sequence

from . import Short, Want


def portions(wants: Sequence[Want], spents: Sequence[int]) -> tuple[int, ...] | Short:
    """Units for each of *wants*, of whose account so much is spent; or the first that has too little."""
    lefts = [max(0, want.account.limit - spent) for want, spent in zip(wants, spents, strict=True)]
    for want, left in zip(wants, lefts, strict=True):
        if left < want.least:
            return Short(want.account, left)
    return tuple(min(want.most, left) for want, left in zip(wants, lefts, strict=True))
