"""Places at the models: how many there are, who has one, and who waits for one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from guardhouse.interceptors.call import Call

from .fair import Caller, Ticket
from .lane import Lane


def _never(_model: str, _version: str) -> bool:
    return False


class Capacity(NamedTuple):
    """What a server takes at once. A queue keeps at most *waiting* calls, and *memory* bytes of messages.

    Attributes:
        threads: Calls of blocking models that run at once.
        blocks: Whether the model of that name and version blocks.
        others: Calls of other models that run at once.
        waiting: Calls that may wait for their turn.
        wait: Seconds that one may wait. Fairness does not rest on it: it bounds what nobody waits for.
        calls: Calls under way at once, waiting ones and open streams among them; see `Crowd`.
        memory: Bytes of request messages that wait.
    """

    threads: int = 1
    blocks: Callable[[str, str], bool] = _never
    others: int = 256
    waiting: int = 512
    wait: float = 10.0
    calls: int = 1024
    memory: int = 64 << 20


class Turn(Ticket):
    """The place of a call in a queue."""

    __slots__ = ("call", "lane", "turn")

    def __init__(
        self, caller: Caller, size: int, cost: int, begun: bool, call: Call, lane: Lane, turn: Future[None]
    ) -> None:
        super().__init__(caller, size, cost, begun=begun)
        self.call, self.lane, self.turn = call, lane, turn


# A call in the model: where, since when, and what it waited with, if it had to. A tuple is made fastest.
Seat = tuple[Lane, float, Turn | None]
