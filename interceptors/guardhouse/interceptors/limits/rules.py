"""Limits as the policy sets them: how often, how many at once, how much; for whom together (see `scopes`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from guardhouse.interceptors.documents.units import Rate

from .budget.units import Amount
from .gcra import Limit, limit
from .scopes import Scope


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RateRule(Scope):
    """So many units in the long run, and after a rest so many at once.

    Attributes:
        rate: How many.
        unit: Of what: "calls", or what a message has of "rows", "elements" or "bytes".
        pace: The rate as `gcra` wants it.
    """

    rate: Rate
    unit: str = "calls"
    pace: Limit = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pace", limit(self.rate.per_second, self.rate.burst))

    @property
    def early(self) -> bool:
        """Whether it can be told before there is a message."""
        return self.unit == "calls" and "model" not in self.per


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SlotRule(Scope):
    """At most so many calls at the same time."""

    most: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Budget(Scope):
    """So much in each window of the calendar.

    Attributes:
        amount: How much.
        exact: Whether the store is asked about every call.
    """

    amount: Amount
    exact: bool = False
