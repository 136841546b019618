"""Rates and slots that several servers share: held together, and by each alone while the store is away."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable

import grpc
import pytest
from callers import ask
from gate import INFER, OWN, Gate, bearer, query, until
from racing import CALLERS, race
from redis_servers import HAS_REDIS, RedisServer

BURST, SLOTS = 200, 6
AHEAD = BURST // 20  # what a server may have drawn and not spent
SHARED = f"""
roles:
  racer:
    allow: [{{methods: [ModelInfer], models: [double]}}]
    limits: {{rate: 60/h, burst: {BURST}}}
  sharer:
    allow: [{{methods: [ModelInfer], models: [patient]}}]
    limits: {{rate: 100000/s, concurrency: {SLOTS}}}
bindings:
  - {{role: racer, claim: {{roles: racer}}}}
  - {{role: sharer, claim: {{roles: sharer}}}}
"""
Serve = Callable[[str, str], Gate]


def degraded(gate: Gate, count: int = 0) -> int:
    """Calls, of *count* at least, about which a limit was decided by the server alone."""
    return sum("degraded" in line for line in gate.ledger(count))


async def test_two_servers_race_one_rate(serve: Serve, store: str) -> None:
    """Together they let one burst through, less what lies in hand, and one more each minute."""
    gates = [serve(name, store) for name in ("one", "other")]
    seen = await race(gates, 2 * BURST // CALLERS)
    seen += await race(gates, 1)
    answered = sum(gate.calls() for gate in gates)
    each = CALLERS // 2 * (2 * BURST // CALLERS + 1)
    alone = sum(degraded(gate, each) for gate in gates)

    assert set(seen) == {"OK", "RESOURCE_EXHAUSTED"}
    # On a busy machine the store may be late: then a server decides alone, and says so.
    assert BURST - 2 * AHEAD <= answered == seen["OK"] <= BURST + 3 + alone


async def test_two_servers_share_slots(serve: Serve, store: str) -> None:
    """Six calls at the same time on both of them; the seventh is refused on either, until one has ended."""
    gates = [serve(name, store) for name in ("one", "other")]
    tokens = [bearer(gate.token("sharer")) for gate in gates]
    channels = [gate.aio() for gate in gates]

    def start(place: int, seconds: float) -> grpc.aio.UnaryUnaryCall:
        body = query("patient", [seconds]).SerializeToString()
        return channels[place % 2].unary_unary(INFER)(body, metadata=tokens[place % 2], timeout=60)

    long = [start(place, 40.0) for place in range(SLOTS)]
    for _ in range(400):
        if sum(gate.calls() for gate in gates) == SLOTS:
            break
        await asyncio.sleep(0.05)
    refused = [(await start(place, 0.0).code()).name for place in range(8)]
    long[0].cancel()
    passed = False
    for _ in range(200):
        if passed := await start(1, 0.0).code() is grpc.StatusCode.OK:
            break
        await asyncio.sleep(0.05)
    for call in long:
        call.cancel()
    for channel in channels:
        await channel.close()

    assert refused == ["RESOURCE_EXHAUSTED"] * 8
    assert passed
    assert [degraded(gate) for gate in gates] == [0, 0]


@HAS_REDIS
@pytest.mark.parametrize("trouble", ["frozen", "gone"])
def test_a_server_whose_store_is_away_goes_on_alone(serve: Serve, redis: RedisServer, trouble: str) -> None:
    """No call fails for that: each server keeps to the whole rate by itself, says so, and comes back."""
    gate = serve("one", redis.url)
    token = gate.token("racer")
    with gate.channel(options=[OWN]) as channel:
        assert ask(channel, token).status == "OK"
        if trouble == "frozen":
            redis.signal(signal.SIGSTOP)
        else:
            redis.stop()
        seen = Counter(ask(channel, token)[:2] for _ in range(BURST + 20))
        alone = degraded(gate, BURST + 21)
        if trouble == "frozen":
            redis.signal(signal.SIGCONT)
        else:
            redis.start()
        until(lambda: "degraded" not in gate.ledger()[-1] if ask(channel, token) else False)

    assert seen.keys() == {("OK", ""), ("RESOURCE_EXHAUSTED", "RATE_LIMITED")}
    assert BURST <= seen["OK", ""] <= BURST + AHEAD + 1
    assert alone >= BURST
    assert gate.stop() == 0
