"""A chain of guards for any gRPC server: who may call what, how often, and a record of every call."""

from .call import Call, Principal, current_call
from .chain import Chain, Guard, Stage
from .refusal import REASONS, Refusal
from .shell_aio import Guarded, aio

__all__ = [
    "REASONS",
    "Call",
    "Chain",
    "Guard",
    "Guarded",
    "Principal",
    "Refusal",
    "Stage",
    "aio",
    "current_call",
]
