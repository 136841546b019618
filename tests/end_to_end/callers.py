"""Callers in threads who ask without pause, and what each was told of each of their calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import NamedTuple, Self

import grpc
from gate import INFER, Gate, bearer, query

OWN = (("grpc.use_local_subchannel_pool", 1),)  # a connection shared with no other caller
BODY = query().SerializeToString()
COMING_BACK = 0.01  # seconds after which a refused caller asks again


class Told(NamedTuple):
    """What a caller was told; no trace where the server did not say it."""

    status: str
    reason: str
    trace: str


def ask(channel: grpc.Channel, token: str) -> Told:
    """Ask the model once. DEADLINE_EXCEEDED: the server has not answered for a long time."""
    try:
        _, call = channel.unary_unary(INFER).with_call(BODY, metadata=bearer(token), timeout=30)
    except grpc.RpcError as error:
        call = error
    said = dict(call.trailing_metadata() or ())
    return Told(call.code().name, said.get("guardhouse-reason", ""), said.get("guardhouse-trace-id", ""))


class Callers:
    """So many callers, from here until the block is left; one who cannot reach the server leaves before."""

    def __init__(self, gate: Gate, count: int = 4, role: str = "analyst") -> None:
        self.told: list[list[Told]] = [[] for _ in range(count)]  # by caller, in the order of their calls
        self.left: list[Told] = []  # what made callers leave: no word of the server's
        self._gate, self.token = gate, gate.token(role)
        self._over = Event()
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> Self:
        self._working = [self._pool.submit(self._work, told) for told in self.told]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for work in self._working:
            work.result()

    def _work(self, told: list[Told]) -> None:
        with self._gate.channel(options=OWN) as channel:
            while not self._over.is_set():
                said = ask(channel, self.token)
                if not said.trace:
                    self.left.append(said)
                    return
                told.append(said)
                if said.status != "OK":
                    self._over.wait(COMING_BACK)

    def all(self) -> dict[str, Told]:
        """What was told of each call, by its trace."""
        return {said.trace: said for told in self.told for said in list(told)}

    def answered(self) -> set[str]:
        """The traces of the calls that were answered OK."""
        return {trace for trace, said in self.all().items() if said.status == "OK"}

    def each(self, status: str, count: int) -> bool:
        """Whether each of them has been told *status* so often, one time after the other, at the last."""
        return all(
            len(told) >= count and {said.status for said in told[-count:]} == {status} for told in self.told
        )
