"""The limits whose decisions `benchmarks.decisions` measures, each with a store of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np

from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.concurrency import Concurrency
from guardhouse.interceptors.limits.rate import RateLimit
from guardhouse.interceptors.limits.rules import Budget, RateRule, SlotRule
from guardhouse.interceptors.limits.stores import Store, Want
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.limits import Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import CALL
from guardhouse.protos import inference_pb2

ROLE: Final = "caller"
# A five-hundredth is taken ahead: 3,125 calls of 64 elements.
AMOUNT: Final = amount("100000000 elements/day")
RATE: Final = Rate(1_000_000_000, 1, 1_000_000_000)
AT_ONCE: Final = 500  # accounts that are put into a store in one step
REDIS: Final = shutil.which("redis-server") or shutil.which("valkey-server")
Decide = Callable[[Call], None]


class Bench(NamedTuple):
    """One limit in use.

    Attributes:
        decide: Decides about one call from its first to its last word, and is charged for it.
        know: Makes calls of so many principals known to it, as if each had been decided about.
    """

    decide: Decide
    know: Callable[[Iterator[Call]], None]


def request() -> tuple[inference_pb2.ModelInferRequest, bytes]:
    """64 FP32 values, 256 bytes; parsed, and as they came."""
    asked = inference_pb2.ModelInferRequest(model_name="echo")
    asked.inputs.add(name="x", datatype="FP32", shape=[64])
    asked.raw_input_contents.append(np.zeros(64, np.float32).tobytes())
    return asked, asked.SerializeToString()


REQUEST, RAW = request()


def granted(kind: str, rules: int) -> Grant:
    """The rights of a caller under a policy of so many limits; all but one are about other roles."""
    limits = Limits()
    for number in range(rules):
        role = ROLE if number == rules // 2 else f"other-{number}"
        limits += _limit(kind, {"name": role, "roles": frozenset({role})})
    return Grant([Role(ROLE)], limits)


def _limit(kind: str, scope: dict[str, object]) -> Limits:
    if kind == "rate":
        return Limits(rates=(RateRule(**scope, rate=RATE),))  # type: ignore[arg-type]
    if kind == "concurrency":
        return Limits(slots=(SlotRule(**scope, most=8),))  # type: ignore[arg-type]
    return Limits(budgets=(Budget(**scope, amount=AMOUNT),))  # type: ignore[arg-type]


def principals(count: int) -> Iterator[Principal]:
    """So many, by SPIFFE id."""
    for number in range(count):
        name = f"spiffe://acme/ns/ml/sa/caller-{number}"
        yield Principal(name=name, certificate=name, proofs=("mtls",))


def calls(of: Sequence[Principal] | Iterator[Principal], grant: Grant) -> Iterator[Call]:
    """A call of each, that the model has answered by the time it is settled."""
    for principal in of:
        yield Call(
            MODEL_INFER,
            (),
            True,
            0,
            0,
            principal=principal,
            grant=grant,
            model="echo",
            raw=RAW,
            now=time.monotonic(),
            wall=time.time(),
            request_bytes=len(RAW),
            response_bytes=len(RAW),
            requests=1,
            responses=1,
            model_ns=1_000_000,
        )


@contextmanager
def opened(kind: str) -> Iterator[Bench]:
    """A limit of *kind*, one of `KINDS`, until the end of the block."""
    with ExitStack() as stack:
        if kind == "rate":
            yield _each(RateLimit().admit)
        elif kind == "concurrency":
            yield _each(_slots())
        else:
            store = stack.enter_context(STORES[kind]())
            yield _budgets(stack.enter_context(closing(Purse(store, waits=kind != "memory"))), store, kind)


def _each(decide: Decide) -> Bench:
    def know(these: Iterator[Call]) -> None:
        for call in these:
            decide(call)

    return Bench(decide, know)


def _slots() -> Decide:
    guard = Concurrency()

    def decide(call: Call) -> None:
        guard.inspect(call, REQUEST)
        call.work.let_go(CALL)  # type: ignore[union-attr] # inspect has made it

    return decide


def _budgets(purse: Purse, store: Store, kind: str) -> Bench:
    guard = Budgets(purse)

    def decide(call: Call) -> None:
        try:
            guard.inspect(call, REQUEST)
        except Later as later:
            later.finish()
        guard.settle(call)

    def know(these: Iterator[Call]) -> None:
        """They have spent something once: the store knows them all."""
        accounts = (account for call in these for _, account in guard.counting(call))
        while some := list(islice(accounts, AT_ONCE)):
            store.take([Want(account, 64, 64) for account in some])

    return _each(decide) if kind == "memory" else Bench(decide, know)


@contextmanager
def _memory() -> Iterator[Store]:
    yield MemoryStore()


@contextmanager
def _sqlite() -> Iterator[Store]:
    from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

    with TemporaryDirectory(prefix="guardhouse-") as folder:
        yield SqliteStore(Path(folder) / "budgets.db")


@contextmanager
def _redis() -> Iterator[Store]:
    from guardhouse.interceptors.limits.stores.redis import RedisStore

    with TemporaryDirectory(prefix="guardhouse-") as folder:
        place = Path(folder) / "socket"
        command = [str(REDIS), "--port", "0", "--unixsocket", str(place), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not place.exists() and server.poll() is None:
                time.sleep(0.01)
            yield RedisStore(f"unix://{place}", timeout=10)
        finally:
            server.terminate()
            server.wait()


STORES: Final = {"memory": _memory, "sqlite": _sqlite, "redis": _redis}
KINDS: Final = ("rate", "concurrency", *STORES)


def missing(kind: str) -> str:
    """Why *kind* cannot be measured here; or ""."""
    return "no redis-server here; run: python tools/redis_server.py" if kind == "redis" and not REDIS else ""
