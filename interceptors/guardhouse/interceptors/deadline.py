"""No call without an end: the caller's deadline, or ours where it gave none or a longer one."""

from __future__ import annotations

from .call import Call
from .chain import Guard, Stage
from .refusal import Refusal


class Deadline(Guard):
    """Caps the time a call may take.

    Args:
        longest: Seconds. The shell for `grpc.aio` stops a call that takes longer; the threaded one can
            only refuse what is late already.
    """

    stage = Stage.DEADLINE

    def __init__(self, longest: float) -> None:
        self._longest = longest

    def admit(self, call: Call) -> None:
        """Refuse a call whose time is up; have grpc end the others, or the shell where that is sooner."""
        if call.remaining is None or call.remaining > self._longest:
            call.patience = self._longest
        elif call.remaining <= 0:
            raise Refusal("DEADLINE_EXCEEDED", "late on arrival")
