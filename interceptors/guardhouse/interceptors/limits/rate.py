"""So many calls, or units in their messages, in a period; in memory by GCRA (see `buckets`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later

from .buckets import Answer, Buckets, Draw
from .budget.units import message_cost
from .leases import Leases
from .rules import RateRule
from .scopes import MINE, holder, note_alone, note_shadow, tries, values, who

Together = Sequence[RateRule]
Try = tuple[Together, Sequence[Draw]]


class Rates:
    """The rates of a policy: what a call is charged, and what becomes of it.

    Args:
        general: The rates that count everybody, for calls of callers who need no role.
        kept: Where they are kept; in memory if None.
    """

    def __init__(self, general: Iterable[RateRule] = (), kept: Buckets | Leases | None = None) -> None:
        self._general = tuple(general)
        self._early = tries(rule for rule in self._general if rule.early)
        self._late = tries(rule for rule in self._general if not rule.early)
        self._kept = kept or Buckets()
        self._draws: Bounded[tuple[RateRule, object], Draw] = Bounded(8192)

    @property
    def keys(self) -> int:
        """Buckets that are kept."""
        return self._kept.keys

    def counting(self, call: Call) -> Sequence[RateRule]:
        """The rates that count *call*. What needs no credential and asks nothing of a model is free."""
        if call.grant is not None:
            return call.grant.rates
        return () if call.method in FREE else self._general

    def early(self, call: Call) -> Sequence[Together]:
        """Those that need no message to be told, as *call* is tried by them."""
        grant = call.grant
        if grant is not None:
            return grant.early_rates
        return () if call.method in FREE else self._early

    def late(self, call: Call) -> Sequence[Together]:
        """Those that need a message, likewise."""
        grant = call.grant
        if grant is not None:
            return grant.late_rates
        return () if call.method in FREE else self._late

    def charge(self, call: Call, tried: Sequence[Together], request: Any = None) -> None:
        """Charge *call* to all rules of each try, or refuse it and charge none. *request*: what has units."""
        for place, rules in enumerate(tried):
            draws = [self._draw(call, rule, request) for rule in rules]
            answer = self._kept.draw(draws, call.now)
            if answer is None:
                rest = [(each, [self._draw(call, rule, request) for rule in each]) for each in tried[place:]]
                raise Later(partial(self._fetch, call, rest))
            _apply(call, rules, answer)

    def _fetch(self, call: Call, tried: Iterable[Try]) -> None:
        """The same, where a store must be asked. Blocks."""
        for rules, draws in tried:
            _apply(call, rules, cast("Leases", self._kept).fetch(draws))

    def left(self, call: Call, rule: RateRule) -> int:
        """Units of *rule* that would pass for *call* now."""
        return self._kept.left(self._draw(call, rule, None), call.now)

    def _draw(self, call: Call, rule: RateRule, request: Any) -> Draw:
        """What *call* wants of *rule*."""
        key = rule, call.principal if rule.per == MINE else who(rule, call)  # a call less: it is asked often
        draw = self._draws.get(key)
        if draw is None:
            draw = Draw(holder(rule, f"{rule.unit}/s", values(rule, call)), rule.pace)
            self._draws.put(key, draw)
        if rule.unit == "calls":
            return draw
        return Draw(draw.holder, draw.limit, message_cost(rule.unit, call, request))


def _apply(call: Call, rules: Sequence[RateRule], answer: Answer) -> None:
    """Do as *answer* says of *rules*: refuse, tell in shadow, or charge."""
    rule = rules[answer.at]
    wait, _, left, full, alone = answer
    if alone:
        note_alone(call, *(each.name for each in rules))
    if wait and rule.shadow:
        note_shadow(call, rule.name)
    elif wait:
        raise _refusal(rule, answer)
    elif not rule.shadow:
        if not call.units:
            call.trailers = (*call.trailers, ("ratelimit", f'"rate";r={left};t={math.ceil(full)}'))
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
        if tried := self.rates.early(call):
            self.rates.charge(call, tried)

    def inspect(self, call: Call, request: Any) -> None:
        """Charge each message of a request stream after the first, which `admit` has charged.

        Not in `again`, which may not wait, as a rate that is shared must.
        """
        if call.requests > 1:
            self.admit(call)


class MessageRate(Guard):
    """Charges each message, of the rates that count by its model or by what is in it."""

    stage = Stage.BUDGET

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def inspect(self, call: Call, request: Any) -> None:
        """Charge the message, or refuse it with the time to wait."""
        if tried := self._rates.late(call):
            self._rates.charge(call, tried, request)
