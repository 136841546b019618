"""`guardhouse.v1.Guardhouse/WhoAmI`: who the server thinks you are, and what is left to you."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from guardhouse.interceptors import Call, Concurrency, Guard, RateLimit, current_call
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.units import smallest
from guardhouse.interceptors.limits.rules import Budget, RateRule, SlotRule
from guardhouse.interceptors.limits.scopes import Scope, told
from guardhouse.interceptors.limits.stores import Account
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc

T = TypeVar("T", bound=Guard)


class Guardhouse(guardhouse_pb2_grpc.GuardhouseServicer):
    """Answers from what the chain has found out about the call; finds out nothing by itself.

    Args:
        guards: Those of the chain.
    """

    def __init__(self, guards: Iterable[Guard]) -> None:
        guards = tuple(guards)
        self._rate, self._slots = _one(guards, RateLimit), _one(guards, Concurrency)
        self._budgets = _one(guards, Budgets)

    async def WhoAmI(  # noqa: N802 - the name on the wire
        self, request: guardhouse_pb2.WhoAmIRequest, context: Any
    ) -> guardhouse_pb2.WhoAmIResponse:
        """The caller's own principal, roles and limits."""
        call = current_call()
        who, grant = call.principal, call.grant
        answer = guardhouse_pb2.WhoAmIResponse(
            subject=who.name,
            roles=sorted(grant.roles) if grant else (),
            proofs=who.proofs,
            certificate_id=who.certificate,
            issuer=who.issuer,
            expires_unix_seconds=int(who.expires or 0),
        )
        answer.limits.extend(self._at_hand(call))
        if self._budgets is not None:
            for budget, account in self._budgets.counting(call):
                units = await asyncio.to_thread(self._budgets.left, account)  # the store may block
                answer.limits.append(_budget(budget, account, units, time.time()))
        return answer

    def _at_hand(self, call: Call) -> Iterator[guardhouse_pb2.Limit]:
        """The limits of which can be told without waiting."""
        if self._rate is not None:
            rates = self._rate.rates
            yield from (_rate(rule, rates.left(call, rule)) for rule in told(rates.counting(call)))
        if self._slots is not None and call.grant is not None:
            slots = self._slots
            yield from (_slot(rule, slots.left(call, rule)) for rule in told(call.grant.slots))


def _one(guards: Iterable[Guard], kind: type[T]) -> T | None:
    return next((guard for guard in guards if isinstance(guard, kind)), None)


def _scope(scope: Scope) -> str:
    return ", ".join(scope.per) or "all callers"


def _rate(rule: RateRule, left: int) -> guardhouse_pb2.Limit:
    return guardhouse_pb2.Limit(
        scope=_scope(rule),
        kind="rate",
        limit=rule.rate.per_second,
        burst=rule.rate.burst,
        remaining=left,
        reset_seconds=(rule.rate.burst - left) / rule.rate.per_second,
        name=rule.name,
        unit=f"{rule.unit}/s",
    )


def _slot(rule: SlotRule, left: int) -> guardhouse_pb2.Limit:
    return guardhouse_pb2.Limit(
        scope=_scope(rule), kind="concurrency", limit=rule.most, remaining=left, name=rule.name, unit="calls"
    )


def _budget(budget: Budget, account: Account, left: int | None, now: float) -> guardhouse_pb2.Limit:
    """What the caller is told of *budget*, of whose *account* so much is *left*; None where nobody knows."""
    amount = budget.amount
    scale = smallest(amount.unit)
    return guardhouse_pb2.Limit(
        scope=_scope(budget),
        kind="budget",
        limit=amount.count / scale,
        remaining=-1 if left is None else left / scale,
        reset_seconds=max(0.0, account.ends - now),
        name=budget.name,
        unit=f"{amount.unit}/{amount.period}",
    )
