"""Which account of a budget a call draws on."""

from __future__ import annotations

from typing import Final

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import Holders
from guardhouse.interceptors.limits.stores import Account

from .windows import Calendar

MINE: Final = ("principal",)


class Accounts:
    """The account that a call draws on, by budget, caller and window."""

    def __init__(self) -> None:
        self._calendar = Calendar()
        self._holders = Holders()
        self._known: Bounded[tuple[Budget, Principal | str], Account] = Bounded(8192)

    def of(self, budget: Budget, call: Call) -> Account:
        """The account of *budget* that *call* draws on now."""
        amount = budget.amount
        window = self._calendar.at(amount.period, call.wall)
        # The principal is one object for as long as it is remembered: no need to look for its name.
        whose = call.principal if budget.per == MINE else self._name(budget, call)
        account = self._known.get((budget, whose))
        if account is None or account.window != window.name:
            account = Account(self._name(budget, call), window.name, amount.count, window.ends)
            self._known.put((budget, whose), account)
        return account

    def _name(self, budget: Budget, call: Call) -> str:
        return self._holders.of(budget, f"{budget.amount.unit}/{budget.amount.period}", call)
