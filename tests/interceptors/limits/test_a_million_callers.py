"""1.1 million callers, each counted by itself: memory is bounded, and nobody comes back richer."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from guardhouse.interceptors import Refusal
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits.buckets import MOST_KEYS
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.rate import RateLimit
from guardhouse.interceptors.limits.rules import Budget, RateRule
from guardhouse.interceptors.limits.stores.memory import MOST, MemoryStore
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.limits import Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.protos import inference_pb2

from .asking import NOON

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]
CALLERS, STEP = 1_100_000, 100_000
DAY = 86_400.0
BUDGET_BYTES, RATE_BYTES = 1000, 400  # of memory for a caller: key, account and what is in hand
DEARER = 3.0  # times, that a call of the last step may cost beside one of the first: the machine is shared
SCOPE = {"name": "r", "roles": frozenset({"r"})}
QUERY = inference_pb2.ModelInferRequest(model_name="m")


def calls(right: Grant, numbers: Iterator[int], wall: float = NOON, now: float = 1.0) -> Iterator[Call]:
    """One call of each of these callers."""
    for number in numbers:
        who = Principal(name=f"spiffe://acme/ns/ml/sa/caller-{number}")
        yield Call(MODEL_INFER, (), True, 0, 0, principal=who, grant=right, wall=wall, now=now, requests=1)


def memory() -> int:
    """Resident bytes of this process, once what nobody uses any more has gone back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def flood(ask: Callable[[Call], str], asked: Iterator[Call]) -> tuple[list[Counter[str]], list[float]]:
    """All calls: by steps, what they were told, and the processor time that each took, in us."""
    told, costs = [], []
    while some := list(islice(asked, STEP)):
        begun = time.thread_time()
        told.append(Counter(map(ask, some)))
        costs.append((time.thread_time() - begun) / len(some) * 1e6)
    return told, costs


def shown(costs: list[float]) -> str:
    """Costs for people."""
    return " ".join(f"{each:.0f}" for each in costs)


def test_rates() -> None:
    """A million buckets are kept; the others share one. Who has drawn all comes back with nothing."""
    rule = RateRule(**SCOPE, rate=Rate(1, 3600, 2))
    right, guard = Grant([Role("r")], Limits(rates=(rule,))), RateLimit()

    def ask(call: Call) -> str:
        try:
            guard.admit(call)
        except Refusal as refusal:
            return refusal.reason
        return ""

    early = list(range(100))
    drawn = [ask(call) for call in calls(right, iter(early))]
    before = memory()
    told, costs = flood(ask, calls(right, iter(range(CALLERS))))
    grown = (memory() - before) // MOST_KEYS
    print(f"rates: {grown} bytes for a caller; {shown(costs)} us for a call, by 100,000")

    assert drawn == [""] * len(early)
    # Two for all who are new where there is no room for one more.
    assert sum(each[""] for each in told) in (MOST_KEYS - 1 + 2, MOST_KEYS + 2)
    assert guard.rates.keys <= MOST_KEYS + 1, "each, and the one that is shared"
    assert 100 < grown < RATE_BYTES
    assert costs[-1] < DEARER * costs[0]
    assert {ask(call) for call in calls(right, iter(early))} == {"RATE_LIMITED"}
    # Two hours later all are full again, and so forgotten as others come.
    told, _ = flood(ask, calls(right, iter(range(CALLERS, CALLERS + STEP)), now=7300.0))
    assert told == [{"": STEP}]
    assert guard.rates.keys <= MOST_KEYS + 1, "each, and the one that is shared"


def test_budgets() -> None:
    """A million accounts are kept; whose would be one more is refused, so that no other is forgotten. Who has
    spent all but a little has that little when they come back. Days later the old ones make room.
    """
    right = Grant([Role("r")], Limits(budgets=(Budget(**SCOPE, amount=amount("1000 calls/day")),)))
    wall = NOON
    store = MemoryStore(lambda: wall)
    purse = Purse(store, waits=False)
    guard = Budgets(purse)

    def ask(call: Call) -> str:
        try:
            guard.inspect(call, QUERY)
        except Refusal as refusal:
            return refusal.reason
        call.model_ns = call.responses = 1
        guard.settle(call)
        return ""

    early = list(range(100))
    for number in early:
        (((_, account),)) = guard.counting(next(calls(right, iter([number]))))
        purse.owe([(account, 998)])
    before = memory()
    told, costs = flood(ask, calls(right, iter(range(CALLERS))))
    grown = (memory() - before) // MOST
    print(f"budgets: {grown} bytes for a caller; {shown(costs)} us for a call, by 100,000")

    assert sum(each[""] for each in told) == MOST
    assert set().union(*told) == {"", "BUDGETS_UNAVAILABLE"}
    assert 100 < grown < BUDGET_BYTES
    assert costs[-1] < DEARER * costs[0]
    assert costs[MOST // STEP - 1] < DEARER * costs[0]
    again = [ask(call) for _ in range(2) for call in calls(right, iter(early))]
    assert again == [""] * len(early) + ["BUDGET_EXHAUSTED"] * len(early)
    wall += 3 * DAY
    flooded = memory()
    told, _ = flood(ask, calls(right, iter(range(STEP)), wall))
    assert told == [{"": STEP}], "there is room for those of today"
    assert memory() - flooded < BUDGET_BYTES * STEP
