"""Knows the calls that have not ended, so that those which a stopping server cuts off are recorded as well.

When `stop` of a grpc.aio server returns, the tasks of the calls it has cancelled are yet to run; and threads
of a grpc.server cannot be cancelled at all. Their ends come after the ledger was closed.
"""

from __future__ import annotations

from typing import Any

from .call import Call
from .chain import Chain, Guard, Stage
from .refusal import Refusal


class UnderWay(Guard):
    """Stands before all others. After `end`, no call is admitted: it could not be recorded."""

    stage = Stage.RECORD

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._over = False

    def admit(self, call: Call) -> None:
        """Note the call; or refuse it."""
        if self._over:
            raise Refusal("LEDGER_UNAVAILABLE", "the guard was closed before its server")
        self._calls.add(call)

    def release(self, call: Call, response: Any) -> Any:
        """Nothing leaves any more of a call that is recorded as cut off."""
        if self._over:
            raise Refusal("CANCELLED")
        return response

    def settle(self, call: Call) -> None:
        """The call has ended."""
        self._calls.discard(call)

    @property
    def count(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    def end(self, chain: Chain) -> None:
        """Settle every call of *chain* that is under way: whatever it does yet, this is its record."""
        self._over = True
        for call in tuple(self._calls):
            chain.settle(call, Refusal("CANCELLED", "the server stopped"))
