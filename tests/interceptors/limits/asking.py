"""Callers of a chain with the guard of budgets alone: what each is told, and what was really used."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Self

from guardhouse.interceptors import Chain, Refusal
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.limits import Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.protos import inference_pb2

NOON = 4_102_488_000.0  # 2100-01-01T12:00Z: far ahead by any real clock
QUERY = inference_pb2.ModelInferRequest(model_name="m")
ROLE = "r"
WHO = Principal(name="me")


class Said(NamedTuple):
    """What one caller was told. *note* is the operator's alone."""

    status: str
    reason: str = ""
    retry_after: float | None = None
    note: str = ""


def grant(*amounts: str) -> Grant:
    """The rights of who has these budgets, which all callers share."""
    budgets = tuple(
        Budget(name=f"b{place}", per=(), amount=amount(text)) for place, text in enumerate(amounts)
    )
    return Grant([Role(ROLE)], Limits(budgets=budgets))


class Gate:
    """A chain whose only guard pays from *purse*; drives it as the shells do, from any thread."""

    def __init__(self, purse: Purse, right: Grant) -> None:
        self._chain, self._right = Chain(Budgets(purse)), right
        self._lock = threading.Lock()
        self.said: list[Said] = []
        self.used = 0  # calls that were let through

    def ask(self, wall: float = NOON) -> Said:
        """One call, from its first word to its last."""
        call = Call(MODEL_INFER, (), True, 0, 0, principal=WHO, grant=self._right, wall=wall, requests=1)
        said = self._ask(call)
        with self._lock:
            self.said.append(said)
            self.used += said.status == "OK"
        return said

    def _ask(self, call: Call) -> Said:
        try:
            pending = self._chain.inspect(call, QUERY)
            while pending is not None:
                self._chain.finish(pending)
                pending = self._chain.go_on(pending)
        except Refusal as refusal:
            self._chain.settle(call, refusal)
            return Said(refusal.code.name, refusal.reason, refusal.retry_after, refusal.note)
        call.model_ns = call.responses = 1
        self._chain.settle(call, None)
        return Said("OK")

    def statuses(self) -> Counter[str]:
        """How often callers were told what."""
        return Counter(said.status for said in list(self.said))


class Callers:
    """So many callers in threads, each coming again after *pace* seconds, until the end of the block."""

    def __init__(self, ask: Callable[[], object], count: int = 16, pace: float = 0.005) -> None:
        self._ask, self._pace, self._over = ask, pace, threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        self.broken: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._over.wait(self._pace):
                self._ask()
        except BaseException as error:
            self.broken.append(error)


def attempts(done: Callable[[], bool], pace: float, most: int = 400) -> int:
    """How often one has to try, with *pace* seconds between, until it is done."""
    for number in range(1, most + 1):
        if done():
            return number
        time.sleep(pace)
    raise AssertionError(f"not in {most} attempts")
