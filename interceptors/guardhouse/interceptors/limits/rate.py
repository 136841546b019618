"""So many calls, or units in their messages, in a period; in memory by GCRA (see `buckets`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later

from .buckets import Answer, Buckets, Draw
from .budget.units import message_cost
from .gcra import limit
from .leases import Leases
from .rules import RateRule
from .scopes import Holders, note_alone, note_shadow

Try = tuple[Sequence[RateRule], Sequence[Draw]]


class Rates:
    """The rates of a policy: what a call is charged, and what becomes of it.

    Args:
        general: The rates that count everybody, for calls of callers who need no role.
        kept: Where they are kept; in memory if None.
    """

    def __init__(self, general: Iterable[RateRule] = (), kept: Buckets | Leases | None = None) -> None:
        self._general = tuple(general)
        self._kept = kept or Buckets()
        self._holders = Holders()

    @property
    def keys(self) -> int:
        """Buckets that are kept."""
        return self._kept.keys

    def counting(self, call: Call) -> Sequence[RateRule]:
        """The rates that count *call*. What needs no credential and asks nothing of a model is free."""
        if call.grant is not None:
            return call.grant.rates
        return () if call.method in FREE else self._general

    def charge(self, call: Call, rules: Sequence[RateRule], request: Any = None) -> None:
        """Charge *call* to all *rules*, or refuse it and charge none. *request*: what has units."""
        firm = [rule for rule in rules if not rule.shadow]
        tries = [(firm, self._draws(call, firm, request))] if firm else []
        tries += [([rule], self._draws(call, [rule], request)) for rule in rules if rule.shadow]
        for place, (tried, draws) in enumerate(tries):
            answer = self._kept.draw(draws, call.now)
            if answer is None:
                raise Later(partial(self._fetch, call, tries[place:]))
            _apply(call, tried, answer)

    def _fetch(self, call: Call, tries: Iterable[Try]) -> None:
        """The same, where a store must be asked. Blocks."""
        for tried, draws in tries:
            _apply(call, tried, cast("Leases", self._kept).fetch(draws))

    def left(self, call: Call, rule: RateRule) -> int:
        """Units of *rule* that would pass for *call* now."""
        return self._kept.left(self._draws(call, [rule], None)[0], call.now)

    def _draws(self, call: Call, rules: Iterable[RateRule], request: Any) -> list[Draw]:
        of = self._holders.of
        return [
            Draw(
                of(rule, f"{rule.unit}/s", call),
                limit(rule.rate.per_second, rule.rate.burst),
                1 if rule.unit == "calls" else message_cost(rule.unit, call, request),
            )
            for rule in rules
        ]


def _apply(call: Call, rules: Sequence[RateRule], answer: Answer) -> None:
    """Do as *answer* says of *rules*: refuse, tell in shadow, or charge."""
    rule = rules[answer.at]
    if answer.alone:
        note_alone(call, *(each.name for each in rules))
    if answer.wait and rule.shadow:
        note_shadow(call, rule.name)
    elif answer.wait:
        raise _refusal(rule, answer)
    elif not rule.shadow:
        if not call.units:
            told = f'"rate";r={answer.left};t={math.ceil(answer.full)}'
            call.trailers = (*call.trailers, ("ratelimit", told))
        call.units += 1


def _refusal(rule: RateRule, answer: Answer) -> Refusal:
    note = f"{rule.name}: {rule.rate.per_second:g} {rule.unit} in 1 s, {rule.rate.burst} at once"
    wait = None if math.isinf(answer.wait) else answer.wait
    name = "rate" if rule.unit == "calls" and rule.per == ("principal",) else rule.name
    return Refusal("RATE_LIMITED", note, retry_after=wait, limit=name)


class RateLimit(Guard):
    """Charges one call when it is admitted and one for every further message of a request stream, of the
    rates that need no message to be told.
    """

    stage = Stage.RATE

    def __init__(self, rates: Rates | None = None) -> None:
        self.rates = rates or Rates()

    def admit(self, call: Call) -> None:
        """Charge the call, or refuse it with the time to wait."""
        if rules := [rule for rule in self.rates.counting(call) if rule.early]:
            self.rates.charge(call, rules)

    def again(self, call: Call, incoming: bool) -> None:
        """Charge each message of a request stream after the first, which `admit` has charged."""
        if incoming and call.requests:
            self.admit(call)


class MessageRate(Guard):
    """Charges each message, of the rates that count by its model or by what is in it."""

    stage = Stage.BUDGET

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def inspect(self, call: Call, request: Any) -> None:
        """Charge the message, or refuse it with the time to wait."""
        if rules := [rule for rule in self._rates.counting(call) if not rule.early]:
            self._rates.charge(call, rules, request)
