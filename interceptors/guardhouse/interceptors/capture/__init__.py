"""What was asked and what was answered, kept for the owner's eyes: only where the owner asked for it.

Inputs and outputs never go to the ledger or the trace. They go to a folder of their own, with permissions of
its own; the record of the call names the place. Tokens and metadata of the caller are nowhere kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_STREAM_INFER
from guardhouse.interceptors.policy.patterns import pattern

from .lines import Message, reference
from .store import CaptureError, Store

__all__ = ["DROPPED", "Capture", "CaptureError", "Capturing", "Store"]

METHODS: Final = frozenset((MODEL_INFER, MODEL_STREAM_INFER))  # those with inputs and outputs
DROPPED: Final = "dropped"
"""What the record says of a call of which not all could be kept."""


@dataclass(frozen=True, slots=True)
class Capturing:
    """What to keep of inputs and outputs, where, and for how long.

    Attributes:
        path: The folder, for nothing else.
        models: Patterns, as in a policy: `digits`, `fraud-*`, `*`.
        max_bytes: Bytes kept of one message; the rest is cut off.
        limit: Bytes of all files together; the oldest make room for the newest.
        keep: Seconds after which a file is deleted.
    """

    path: Path
    models: Sequence[str]
    max_bytes: int = 64 * 2**10
    limit: int = 2**30
    keep: float = 7 * 86_400.0


class Capture(Guard):
    """Hands what is asked of some models, and what leaves for it, to *store*. Never fails or delays a call.

    It stands before screening: what that refuses is kept too, and of answers what output controls left over.

    Args:
        store: Takes the messages.
        models: Patterns of the names of the models. Raises ValueError for what is none.
        max_bytes: Bytes kept of one message.
    """

    stage = Stage.SCREENING

    def __init__(self, store: Store, models: Sequence[str], max_bytes: int) -> None:
        self._put = store.put
        self._patterns = [pattern(each) for each in models]
        self._most = max_bytes

    def inspect(self, call: Call, request: Any) -> None:
        """Keep a request message."""
        if call.method in METHODS:
            self._keep(call, "request", call.requests, request)

    def release(self, call: Call, response: Any) -> Any:
        """Keep a response message, and let it pass."""
        if call.method in METHODS:
            self._keep(call, "response", call.responses + 1, response)
        return response

    def _keep(self, call: Call, part: str, number: int, message: Any) -> None:
        if not any(each.matches(call.model) for each in self._patterns):
            return
        if not self._handed_over(call, part, number, message):
            call.capture = DROPPED
        elif not call.capture:
            call.capture = reference(call.span_id, call.wall_ns)

    def _handed_over(self, call: Call, part: str, number: int, message: Any) -> bool:
        try:
            name, raw = message.DESCRIPTOR.full_name, message.SerializeToString()
        except Exception:  # no protobuf, or one that is not complete: others judge it
            return False
        facts = (call.span_id, call.wall_ns, call.model, part, number)
        return self._put(Message(*facts, name, len(raw), raw[: self._most]))
