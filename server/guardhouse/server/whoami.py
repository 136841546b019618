"""`guardhouse.v1.Guardhouse/WhoAmI`: who the server thinks you are, and what is left to you."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from guardhouse.interceptors import Concurrency, RateLimit, current_call
from guardhouse.interceptors.limits.budget import Budget, Budgets
from guardhouse.interceptors.limits.stores import Account
from guardhouse.interceptors.limits.budget.units import smallest
from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc


class Guardhouse(guardhouse_pb2_grpc.GuardhouseServicer):
    """Answers from what the chain has found out about the call; finds out nothing by itself."""

    def __init__(self, rate: RateLimit, concurrency: Concurrency, budgets: Budgets | None = None) -> None:
        self._rate, self._concurrency, self._budgets = rate, concurrency, budgets

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
        if grant is not None and grant.rate is not None:
            left = self._rate.remaining(who, grant, time.monotonic()) or 0
            answer.limits.add(
                scope="principal",
                kind="rate",
                limit=grant.rate.per_second,
                burst=grant.rate.burst,
                remaining=left,
                reset_seconds=(grant.rate.burst - left) / grant.rate.per_second,
            )
        if grant is not None and grant.concurrency is not None:
            free = self._concurrency.remaining(who, grant)
            answer.limits.add(scope="principal", kind="concurrency", limit=grant.concurrency, remaining=free)
        if self._budgets is not None:
            for budget, account in self._budgets.counting(call):
                units = await asyncio.to_thread(self._budgets.left, account)  # the store may block
                answer.limits.append(_budget(budget, account, units, time.time()))
        return answer


def _budget(budget: Budget, account: Account, left: int | None, now: float) -> guardhouse_pb2.Limit:
    """What the caller is told of *budget*, of whose *account* so much is *left*; None where nobody knows."""
    amount = budget.amount
    scale = smallest(amount.unit)
    return guardhouse_pb2.Limit(
        scope=", ".join(budget.per) or "all callers",
        kind="budget",
        limit=amount.count / scale,
        remaining=-1 if left is None else left / scale,
        reset_seconds=max(0.0, account.ends - now),
        name=budget.name,
        unit=f"{amount.unit}/{amount.period}",
    )
