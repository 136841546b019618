"""Budgets: so many units for a holder in an hour, a day or a month.

The most that a call can cost is reserved before the model runs, from every budget that counts it or from
none; what it did not need is given back when it has ended. A call that never came to the model costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG, Guard, Stage
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_STREAM_INFER, SERVICES
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later

from .purse import Till
from .rules import Budget, named, value
from .stores import Account, Short, StoreError
from .units import Amount, Clamps, amount, format_amount, real, worst
from .windows import Calendar

__all__ = ["FREE", "Amount", "Budget", "Budgets", "Charge", "Clamps", "amount", "format_amount"]

# Methods that ask nothing of a model cost nothing: who has spent everything may still ask what is left.
FREE: Final = frozenset(
    f"/{service}/{method}" for service, methods in SERVICES.items() for method in methods
) - {MODEL_INFER, MODEL_STREAM_INFER}


class Charge(NamedTuple):
    """*units* of *budget*, to be taken from *account*."""

    budget: Budget
    account: Account
    units: int


class Budgets(Guard):
    """Lets a call through that its budgets can pay for. Who is counted by none passes.

    Args:
        till: Where calls pay; closed by whoever made it.
        general: The budgets that count everybody, for calls of callers who need no role.
        clamps: The worst that one message can cost.
        free: Paths of methods that cost nothing.
    """

    stage = Stage.BUDGET

    def __init__(
        self,
        till: Till,
        general: Iterable[Budget] = (),
        clamps: Clamps = Clamps(response=4 << 20, seconds=60.0),  # noqa: B008 - a value
        free: Collection[str] = FREE,
    ) -> None:
        self._till, self._general, self._clamps, self._free = till, tuple(general), clamps, free
        self._calendar = Calendar()
        self._names: Bounded[tuple[Budget, tuple[str, ...]], str] = Bounded(8192)
        self._held: dict[Call, list[Charge]] = {}
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Reserve the worst that this message can cost."""
        budgets = self._counting(call)
        if budgets and call.method not in self._free:
            self._reserve(
                call, [self._charge(each, call, request) for each in budgets if _counts(each, call)]
            )

    def again(self, call: Call, incoming: bool) -> None:
        """Reserve for an answer beyond the first to a message, where bytes are counted."""
        if not incoming and call.responses >= call.requests and call.method not in self._free:
            counted = [each for each in self._counting(call) if each.amount.unit == "bytes"]
            if counted:
                self._reserve(call, [self._more(each, call) for each in counted])

    def settle(self, call: Call) -> None:
        """Give back what was not needed."""
        with self._lock:
            held = self._held.pop(call, ())
        if held:
            self._till.refund(unused(held, call))

    def accounts(self, call: Call) -> list[tuple[Budget, Account]]:
        """What *call* would be counted on that can be told without a message: not by model or method."""
        told = [each for each in self._counting(call) if not {"model", "method"} & set(each.per)]
        return [(each, self._account(each, call)) for each in told]

    def left(self, account: Account) -> int | None:
        """Units that *account* has; None where that cannot be told now. May block."""
        try:
            return self._till.left(account)
        except StoreError as error:
            LOG.error("what is left of %s cannot be told: %s", account.name, error)
            return None

    def _counting(self, call: Call) -> Sequence[Budget]:
        return self._general if call.grant is None else call.grant.budgets

    def _charge(self, budget: Budget, call: Call, request: Any) -> Charge:
        units = worst(budget.amount.unit, call, request, self._clamps)
        return Charge(budget, self._account(budget, call), units)

    def _more(self, budget: Budget, call: Call) -> Charge:
        return Charge(budget, self._account(budget, call), self._clamps.response)

    def _account(self, budget: Budget, call: Call) -> Account:
        key = budget, tuple([value(part, call) for part in budget.per])
        name = self._names.get(key)
        if name is None:
            name = named(*key)
            self._names.put(key, name)
        window = self._calendar.at(budget.amount.period, call.wall)
        return Account(name, window.name, budget.amount.count, window.ends)

    def _reserve(self, call: Call, charges: Sequence[Charge]) -> None:
        """Reserve all *charges* from what is at hand; `Later` where the store must be asked."""
        enforced = [charge for charge in charges if not charge.budget.shadow]
        shadows = [charge for charge in charges if charge.budget.shadow]
        if enforced:
            found = self._till.reserve(*_costs(enforced))
            if found is False:
                raise Later(partial(self._fetch, call, enforced, shadows))
            _demand(found, enforced, call)
            self._hold(call, enforced)
        for place, shadow in enumerate(shadows):
            found = self._till.reserve(*_costs([shadow]))
            if found is False:
                raise Later(partial(self._fetch, call, [], shadows[place:]))
            self._tell(call, shadow, found)

    def _fetch(self, call: Call, enforced: Sequence[Charge], shadows: Sequence[Charge]) -> None:
        """The same, asking the store. Blocks."""
        if call.closed:
            raise Refusal("CANCELLED", "it ended before its budgets were known")
        try:
            if enforced:
                _demand(self._till.fetch(*_costs(enforced)), enforced, call)
                self._hold(call, enforced)
            for shadow in shadows:
                self._tell(call, shadow, self._till.fetch(*_costs([shadow])))
        except StoreError as error:
            if enforced:
                raise Refusal("BUDGETS_UNAVAILABLE", str(error), retry_after=1.0) from None
            LOG.error("a budget in shadow could not be checked: %s", error)

    def _hold(self, call: Call, charges: Sequence[Charge]) -> None:
        """Remember what *call* has reserved; one that has ended meanwhile gets nothing."""
        with self._lock:
            if not call.closed:
                self._held.setdefault(call, []).extend(charges)
                return
        self._till.refund([(charge.account, charge.units) for charge in charges])
        raise Refusal("CANCELLED", "it ended while its budgets were asked")

    def _tell(self, call: Call, shadow: Charge, found: Short | bool | None) -> None:
        """Hold what a budget in shadow let through; note what it would have refused."""
        if not isinstance(found, Short):
            self._hold(call, [shadow])
        elif shadow.budget.name not in call.shadow.split():
            call.shadow = f"{call.shadow} {shadow.budget.name}".lstrip()


def unused(held: Sequence[Charge], call: Call) -> list[tuple[Account, int]]:
    """What a settled *call* gives back of what it *held*."""
    began = bool(call.model_ns or call.queue_ns or call.responses)
    owed = {charge.budget: real(charge.budget.amount.unit, call) if began else 0 for charge in held}
    back = []
    for budget, account, units in held:
        due = owed[budget]
        paid = units if due is None else min(units, due)
        owed[budget] = None if due is None else due - paid
        if units > paid:
            back.append((account, units - paid))
    return back


def _counts(budget: Budget, call: Call) -> bool:
    """Time is reserved once for all messages of a call: its deadline is that of all of them."""
    return budget.amount.unit != "seconds" or call.requests <= 1


def _costs(charges: Sequence[Charge]) -> tuple[dict[Account, int], bool]:
    return {charge.account: charge.units for charge in charges}, any(each.budget.exact for each in charges)


def _demand(found: Short | bool | None, charges: Sequence[Charge], call: Call) -> None:
    """Refuse where an account has too little: until its window ends, or for good if it never has so much."""
    if not isinstance(found, Short):
        return
    account, left = found
    wanted = next(charge for charge in charges if charge.account == account)
    note = f"{account.name} {account.window}: {wanted.units} wanted, {left} of {account.limit} left"
    hopeless = wanted.units > account.limit
    wait = None if hopeless else max(1.0, account.ends - call.wall)
    say, name = _words(wanted, left), wanted.budget.name
    raise Refusal("BUDGET_EXHAUSTED", note, say=say, retry_after=wait, limit=name)


def _words(wanted: Charge, left: int) -> str:
    unit, period = wanted.budget.amount.unit, wanted.budget.amount.period
    scale = " ms" if unit == "seconds" else ""
    return f"{wanted.units}{scale} of {unit}/{period} wanted, {left}{scale} left"
