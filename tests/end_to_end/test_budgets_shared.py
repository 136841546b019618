"""Budgets that several servers share: never overspent, kept over restarts and kills, a store in trouble."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import grpc
import pytest
from callers import Callers
from gate import INFER, Gate, bearer, query, until
from racing import CALLERS, POLICY, leave, race
from redis_servers import HAS_REDIS, RedisServer

LIMIT = 3000  # calls: a five-hundredth is six
SHARED = POLICY.format(budgets=f"[{{name: all, budget: {LIMIT} calls/day}}]")
FAILS = ("BUDGETS_UNAVAILABLE", "")


async def test_two_servers_race_one_budget_and_one_comes_back(
    serve: Callable[[str, str], Gate], store: str
) -> None:
    """At most what there is, at least 99 % of it, by the models' own counters; a restart forgets nothing."""
    gates = [serve(name, store) for name in ("one", "other")]
    tries = 2 * LIMIT // CALLERS
    seen = await race(gates, tries)
    answered = sum(gate.calls() for gate in gates)

    assert set(seen) == {"OK", "RESOURCE_EXHAUSTED"}
    assert 0.99 * LIMIT <= answered == seen["OK"] <= LIMIT
    for gate in gates:
        assert gate.stop() == 0
    gates[0].start("--set", f"limits.store={store}")
    seen = await race(gates[0], 2)
    assert answered + seen["OK"] <= LIMIT
    assert seen["RESOURCE_EXHAUSTED"] >= CALLERS


async def test_a_server_that_is_killed_has_paid(serve: Callable[[str, str], Gate], store: str) -> None:
    """kill -9 in the middle of calls: what it held is spent, and the others spend the rest and no more."""
    victim, other = serve("victim", store), serve("other", store)
    with Callers(victim, role="racer"):
        until(lambda: victim.calls() > LIMIT // 10)
        victim.kill()
    seen = await race(other, 2 * LIMIT // CALLERS)
    answered = victim.calls() + seen["OK"]

    assert seen["RESOURCE_EXHAUSTED"] > 0
    # The victim held the calls that were under way, and a five-hundredth.
    assert LIMIT - LIMIT // 500 - 64 <= answered <= LIMIT


class Caller:
    """Asks a server again and again, over one connection."""

    def __init__(self, gate: Gate) -> None:
        self._metadata = bearer(gate.token("racer"))
        self._infer = gate.channel().unary_unary(INFER)

    def ended(self) -> str:
        """The status of one call. DEADLINE_EXCEEDED: it hung."""
        try:
            self._infer(query().SerializeToString(), metadata=self._metadata, timeout=15)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


TROUBLES: dict[str, tuple[Callable[[RedisServer], object], Callable[[RedisServer], object]]] = {
    "frozen": (lambda it: it.signal(signal.SIGSTOP), lambda it: it.signal(signal.SIGCONT)),
    "killed": (RedisServer.stop, RedisServer.start),
    "full": (
        lambda it: it.ask("CONFIG", "SET", "maxmemory", 1),
        lambda it: it.ask("CONFIG", "SET", "maxmemory", 0),
    ),
    "read-only": (
        lambda it: it.ask("REPLICAOF", "127.0.0.1", 1),
        lambda it: it.ask("REPLICAOF", "NO", "ONE"),
    ),
}


def threads(gate: Gate) -> int:
    """How many threads the server has."""
    return len(list(Path(f"/proc/{gate.process.pid}/task").iterdir()))


@HAS_REDIS
@pytest.mark.parametrize("name", TROUBLES)
def test_a_redis_in_trouble_and_well_again(
    serve: Callable[[str, str], Gate], redis: RedisServer, name: str
) -> None:
    """Calls are refused UNAVAILABLE, none hangs or comes to the model unpaid; then it goes on."""
    begin, end = TROUBLES[name]
    gate = serve("one", redis.url)
    caller = Caller(gate)
    assert caller.ended() == "OK"
    begin(redis)
    until(lambda: caller.ended() == "UNAVAILABLE")  # what was in hand is spent
    before = gate.calls()
    with Callers(gate, count=16, role="racer") as callers:
        until(lambda: callers.each("UNAVAILABLE", 50))
        during, busy = gate.calls(), threads(gate)
        end(redis)
        until(lambda: callers.each("OK", 1))
    told = {(said.status, said.reason) for said in callers.all().values()}
    print(f"{name}: {busy} threads in the trouble, {threads(gate)} after it")

    assert during == before
    assert told == {("OK", ""), ("UNAVAILABLE", "BUDGETS_UNAVAILABLE")}
    assert callers.left == []
    assert busy <= threads(gate) + 2, "threads wait for the store"
    assert gate.stop() == 0
    reasons = Counter(line["reason"] for line in gate.ledger())
    assert set(reasons) == set(FAILS)
    assert reasons[""] == gate.calls() <= LIMIT


@pytest.mark.soak
async def test_callers_who_leave_at_any_moment_and_a_server_that_is_killed(
    serve: Callable[[str, str], Gate], store: str
) -> None:
    """Callers cancel whenever they like, the server is killed among them and started anew on the same store:
    no more comes to the model than the budget has, and what is lost is what the killed one held.
    """
    gate, random = serve("one", store), Random(store.partition(":")[0])
    first = asyncio.create_task(leave(gate, random, 2 * LIMIT // CALLERS))
    await asyncio.to_thread(until, lambda: gate.calls() > LIMIT // 10)
    gate.kill()
    await first
    killed = gate.calls()
    gate.start("--set", f"limits.store={store}")
    seen = await leave(gate, random, 5 * LIMIT // 2 // CALLERS)
    print(f"{killed} came to the model before the kill, {gate.calls()} in all; then {seen}")

    assert killed < LIMIT
    assert set(seen) <= {"OK", "CANCELLED", "RESOURCE_EXHAUSTED"}
    assert seen["RESOURCE_EXHAUSTED"] > 0
    assert LIMIT - LIMIT // 500 - CALLERS <= gate.calls() <= LIMIT


@HAS_REDIS
def test_a_redis_that_is_gone_at_the_start(serve: Callable[[str, str], Gate], redis: RedisServer) -> None:
    """The server starts, refuses what a budget counts, and serves once the store is there."""
    redis.stop()
    gate = serve("one", redis.url)
    caller = Caller(gate)
    assert caller.ended() == "UNAVAILABLE"
    redis.start()
    until(lambda: caller.ended() == "OK")
    assert gate.calls() == 1
