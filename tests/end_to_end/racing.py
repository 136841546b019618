"""Many callers who spend one budget at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from gate import INFER, Gate, bearer, query

POLICY = """
roles:
  racer:
    allow:
      - {{methods: [ModelInfer], models: [double, patient, broken, slow]}}
      - {{methods: [guardhouse.v1.Guardhouse/WhoAmI]}}
    limits: {{rate: 100000/s, burst: 100000}}
bindings: [{{role: racer, claim: {{roles: racer}}}}]
limits: {budgets}
"""
CALLERS, CONNECTIONS = 64, 4
LEAVING = 0.3  # of the callers who may leave


async def race(
    gate: Gate | Sequence[Gate], tries: int, model: str = "double", value: float = 1.0, deadline: float = 30.0
) -> Counter[str]:
    """All callers ask at the same time, spread over the servers, each so often; how their calls ended."""
    gates = [gate] if isinstance(gate, Gate) else gate
    tokens, body = [bearer(each.token("racer")) for each in gates], query(model, [value]).SerializeToString()
    channels = [gates[place % len(gates)].aio() for place in range(CONNECTIONS)]
    seen: Counter[str] = Counter()

    async def caller(place: int) -> None:
        infer = channels[place % CONNECTIONS].unary_unary(INFER)
        for _ in range(tries):
            seen[(await infer(body, metadata=tokens[place % len(gates)], timeout=deadline).code()).name] += 1

    await asyncio.gather(*(caller(place) for place in range(CALLERS)))
    for channel in channels:
        await channel.close()
    return seen


async def leave(gate: Gate, random: Random, tries: int) -> Counter[str]:
    """The same with one server, and callers who leave a model that takes 10 ms at any moment, or stay."""
    token, body = bearer(gate.token("racer")), query("patient", [0.01]).SerializeToString()
    channels = [gate.aio() for _ in range(CONNECTIONS)]
    seen: Counter[str] = Counter()

    async def caller(place: int) -> None:
        infer = channels[place % CONNECTIONS].unary_unary(INFER)
        for _ in range(tries):
            call = infer(body, metadata=token, timeout=30)
            if random.random() < LEAVING:
                await asyncio.sleep(random.random() * 0.1)
                call.cancel()
            seen[(await call.code()).name] += 1

    await asyncio.gather(*(caller(place) for place in range(CALLERS)))
    for channel in channels:
        await channel.close()
    return seen
