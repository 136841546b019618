"""Whatever happens to Redis while budgets are spent: what callers are told, and that nothing is overspent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from guardhouse.interceptors.limits.budget.purse import AHEAD, Purse
from guardhouse.interceptors.limits.stores.at import open_store
from guardhouse.interceptors.limits.stores.redis import RedisStore

from .accounts import spent
from .asking import Callers, Gate, Said, attempts, grant
from .redis_servers import RedisServer

LIMIT, CALLERS = 5_000, 16
BEFORE = 500  # calls let through before the trouble begins
DURING = 400  # calls refused in it
PACE = 0.05  # seconds between two attempts to see that it is over
SOON = 40  # attempts: two seconds
TOLD = {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
UNASKED = ("not tried, having just failed", "the store of budgets does not answer")


class Fault(NamedTuple):
    """What happens to a Redis, and how it ends. *forgets*: whether what was spent before is forgotten."""

    begin: Callable[[RedisServer], object]
    end: Callable[[RedisServer], object]
    forgets: bool = False


def _nothing(_: RedisServer) -> None:
    """It ends by itself."""


DOWN = {
    "killed": Fault(RedisServer.stop, RedisServer.start, forgets=True),
    "frozen": Fault(lambda it: it.signal(signal.SIGSTOP), lambda it: it.signal(signal.SIGCONT)),
    "slow by 2 s": Fault(lambda it: it.ask("CLIENT", "PAUSE", 2000, "ALL"), _nothing),
    "full": Fault(
        lambda it: it.ask("CONFIG", "SET", "maxmemory", 1), lambda it: it.ask("CONFIG", "SET", "maxmemory", 0)
    ),
    "read-only": Fault(
        lambda it: it.ask("REPLICAOF", "127.0.0.1", 1), lambda it: it.ask("REPLICAOF", "NO", "ONE")
    ),
    "without rights": Fault(
        lambda it: it.ask("ACL", "SETUSER", "default", "-evalsha", "-eval"),
        lambda it: it.ask("ACL", "SETUSER", "default", "+evalsha", "+eval"),
    ),
}
UNNOTICED = {
    "script cache lost": Fault(lambda it: it.ask("SCRIPT", "FLUSH"), _nothing),
    "flushed": Fault(lambda it: it.ask("FLUSHALL"), _nothing, forgets=True),
}


@pytest.fixture
def gate(own_redis: RedisServer) -> Iterator[Gate]:
    """A gate, as a server has it: an answer may take 0.1 s, and a breaker stands before the store."""
    with closing(Purse(open_store(own_redis.url))) as purse:
        yield Gate(purse, grant(f"{LIMIT} calls/day"))


def spend_the_rest(gate: Gate) -> None:
    """Until nothing is left; at the end, one caller alone."""
    attempts(lambda: gate.ask().status == "RESOURCE_EXHAUSTED", 0, 3 * LIMIT)


def asked(said: Iterable[Said]) -> int:
    """Who was refused UNAVAILABLE and has asked the store: it may have done as it was asked."""
    return sum(one.status == "UNAVAILABLE" and not one.note.startswith(UNASKED) for one in said)


def judge(gate: Gate, name: str, forgotten: int) -> None:
    """Nothing overspent but what Redis forgot, nothing lost but what it may have done and not told."""
    assert set(gate.statuses()) <= TOLD
    unavailable = [said for said in gate.said if said.status == "UNAVAILABLE"]
    assert {(said.reason, said.retry_after) for said in unavailable} <= {("BUDGETS_UNAVAILABLE", 1.0)}
    doubtful = asked(gate.said)
    print(f"{name}: {gate.statuses()}; {forgotten} forgotten, {doubtful} questions without an answer")
    assert gate.used <= LIMIT + forgotten
    assert gate.used >= LIMIT - doubtful * (1 + LIMIT // AHEAD)


@pytest.mark.parametrize("name", DOWN)
def test_down_and_well_again(name: str, gate: Gate, own_redis: RedisServer) -> None:
    """Callers are refused UNAVAILABLE, and nearly none of them asks: the breaker is open. Nothing piles up.
    Two seconds after it is well again calls go through.
    """
    fault, threads = DOWN[name], threading.active_count()
    with Callers(gate.ask, CALLERS) as callers:
        attempts(lambda: gate.used >= BEFORE, PACE)
        fault.begin(own_redis)
        opened = attempts(lambda: gate.statuses()["UNAVAILABLE"] > 0, PACE)
        attempts(lambda: gate.statuses()["UNAVAILABLE"] >= DURING, PACE)
        assert threading.active_count() <= threads + CALLERS
        refused, questions = gate.statuses()["UNAVAILABLE"], asked(list(gate.said))
        fault.end(own_redis)
        if fault.end is _nothing:
            attempts(lambda: own_redis.ask("PING") is not None, PACE)
        before = gate.used
        closed = attempts(lambda: gate.used > before, PACE)
    print(f"{name}: refused after {opened} and served again after {closed} steps of {PACE} s")
    assert callers.broken == []
    assert closed <= SOON
    assert questions <= refused // 10, "each refusal has asked the store"
    spend_the_rest(gate)
    judge(gate, name, before if fault.forgets else 0)


@pytest.mark.parametrize("name", UNNOTICED)
def test_unnoticed(name: str, gate: Gate, own_redis: RedisServer) -> None:
    """Nobody is refused; where Redis forgets, what was spent before is there once more, and not twice."""
    fault = UNNOTICED[name]
    with Callers(gate.ask, CALLERS) as callers:
        attempts(lambda: gate.used >= BEFORE, PACE)
        fault.begin(own_redis)
        before = gate.used
        served = attempts(lambda: gate.used > before + BEFORE, PACE)
    print(f"{name}: {BEFORE} more calls served within {served} steps of {PACE} s")
    assert callers.broken == []
    assert set(gate.statuses()) == {"OK"}
    spend_the_rest(gate)
    # What was in hand when Redis forgot was spent from its first life.
    judge(gate, name, before + LIMIT // AHEAD if fault.forgets else 0)


def test_failed_over(watched: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    """The primary is killed, and Sentinel makes a replica the primary: what had come to that is spent still.
    What had not, since replicas come after, can be spent once more, and that is all.
    """
    primary, replica, sentinel = watched

    def known() -> int:
        """What has come to the replica."""
        return sum(spent(RedisStore(replica.url, timeout=5)).values())

    where = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    with closing(Purse(open_store(where))) as purse:
        gate = Gate(purse, grant(f"{LIMIT} calls/day"))
        with Callers(gate.ask, CALLERS) as callers:
            attempts(lambda: gate.used >= BEFORE and known() > 0, PACE)
            primary.stop()
            attempts(lambda: gate.statuses()["UNAVAILABLE"] >= DURING, PACE)
            before, kept = gate.used, known()
            attempts(lambda: "master" in str(replica.ask("ROLE")), PACE)
            closed = attempts(lambda: gate.used > before, PACE)
        print(f"failed over: served again after {closed} steps of {PACE} s")
        assert callers.broken == []
        assert kept > 0
        assert closed <= SOON
        spend_the_rest(gate)
        judge(gate, "failed over", max(0, before - kept))
