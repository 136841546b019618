"""The one exception of the chain, and the table of every reason a caller can be given.

A reason is a stable code that programs branch on (`google.rpc.ErrorInfo.reason`, AIP-193); its gRPC
status and its words are fixed here, so nothing a guard, a model or a library says can slip through.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Final, NamedTuple

from grpc import StatusCode

DOMAIN: Final = "guardhouse"
LONGEST: Final = 1024  # bytes of a sentence on the wire


class Answer(NamedTuple):
    """What a reason means on the wire: the status code and the caller's sentence."""

    code: StatusCode
    words: str


REASONS: Final[Mapping[str, Answer]] = MappingProxyType(
    {
        "CERTIFICATE_MISSING": Answer(StatusCode.UNAUTHENTICATED, "a client certificate is required"),
        "CERTIFICATE_INVALID": Answer(StatusCode.UNAUTHENTICATED, "the client certificate is not accepted"),
        "CERTIFICATE_EXPIRED": Answer(StatusCode.UNAUTHENTICATED, "the client certificate has expired"),
        "TOKEN_MISSING": Answer(StatusCode.UNAUTHENTICATED, "a bearer token is required"),
        "TOKEN_INVALID": Answer(StatusCode.UNAUTHENTICATED, "the token is not accepted"),
        "TOKEN_EXPIRED": Answer(StatusCode.UNAUTHENTICATED, "the token has expired"),
        "METHOD_DENIED": Answer(StatusCode.PERMISSION_DENIED, "not allowed to call this method"),
        "MODEL_DENIED": Answer(StatusCode.PERMISSION_DENIED, "not allowed to use this model"),
        "MODEL_UNPRICED": Answer(StatusCode.PERMISSION_DENIED, "this model has no price"),
        "METHOD_UNKNOWN": Answer(StatusCode.UNIMPLEMENTED, "this server has no such method"),
        "MODEL_UNKNOWN": Answer(StatusCode.NOT_FOUND, "no such model or version"),
        "MODEL_STREAMS": Answer(StatusCode.UNIMPLEMENTED, "this model answers on ModelStreamInfer only"),
        "MESSAGE_MISSING": Answer(StatusCode.INVALID_ARGUMENT, "the call carried no message"),
        "MESSAGE_UNREADABLE": Answer(StatusCode.INVALID_ARGUMENT, "the message is not valid protobuf"),
        "TOO_LARGE": Answer(StatusCode.RESOURCE_EXHAUSTED, "the message is too large"),
        "NAME_INVALID": Answer(StatusCode.INVALID_ARGUMENT, "a name is empty, too long or badly formed"),
        "PARAMETER_INVALID": Answer(StatusCode.INVALID_ARGUMENT, "a parameter is not allowed"),
        "TENSOR_COUNT": Answer(StatusCode.INVALID_ARGUMENT, "too few or too many tensors"),
        "TENSOR_DUPLICATE": Answer(StatusCode.INVALID_ARGUMENT, "a tensor is named twice"),
        "TENSOR_DATATYPE": Answer(StatusCode.INVALID_ARGUMENT, "a tensor has the wrong datatype"),
        "TENSOR_SHAPE": Answer(StatusCode.INVALID_ARGUMENT, "a tensor has the wrong shape"),
        "TENSOR_CONTENTS": Answer(StatusCode.INVALID_ARGUMENT, "a tensor's contents do not fit its shape"),
        "TENSOR_UNKNOWN": Answer(StatusCode.INVALID_ARGUMENT, "the model has no tensor of that name"),
        "RATE_LIMITED": Answer(StatusCode.RESOURCE_EXHAUSTED, "too many calls; slow down"),
        "CONCURRENCY_LIMITED": Answer(StatusCode.RESOURCE_EXHAUSTED, "too many calls at once"),
        "OVERLOADED": Answer(StatusCode.RESOURCE_EXHAUSTED, "the server is busy"),
        "BUDGET_EXHAUSTED": Answer(StatusCode.RESOURCE_EXHAUSTED, "a budget is spent"),
        "LEDGER_UNAVAILABLE": Answer(StatusCode.UNAVAILABLE, "calls cannot be recorded at the moment"),
        "BUDGETS_UNAVAILABLE": Answer(StatusCode.UNAVAILABLE, "budgets cannot be checked at the moment"),
        "KEYS_UNAVAILABLE": Answer(StatusCode.UNAVAILABLE, "tokens cannot be checked at the moment"),
        "DEADLINE_EXCEEDED": Answer(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"),
        "CANCELLED": Answer(StatusCode.CANCELLED, "the caller left"),
        "MODEL_FAILED": Answer(StatusCode.INTERNAL, "the model failed"),
        "INTERNAL": Answer(StatusCode.INTERNAL, "internal error"),
        # What a handler behind the chain says by itself, with `context.abort` or `set_code`.
        "HANDLER": Answer(StatusCode.UNKNOWN, "refused by the service"),
    }
)


def sentence(text: str) -> str:
    """*text*, cut to what grpc can send without its trailers growing too large for the caller to read.

    In `grpc-message` every byte that is not printable ASCII becomes three.
    """
    clean = text.encode("utf-8", "replace").decode()
    sizes = accumulate(1 if " " <= char <= "~" else 3 * len(char.encode()) for char in clean)
    return clean[: sum(size <= LONGEST for size in sizes)]


class Refusal(Exception):  # noqa: N818 - a refusal is a decision, not a defect
    """The call stops here.

    Args:
        reason: A key of `REASONS`; it settles the status code and the caller's words.
        note: What the operator should know; goes to the ledger, never to the caller.
        say: More for the caller, in words of ours: positions, sizes and limits, never anybody's text.
        retry_after: Seconds until the same call may pass; None where trying again cannot help.
        limit: The limit that refused, by the name that its caller may know.
        code: Only for HANDLER: the status that the service behind the chain chose.
    """

    def __init__(
        self,
        reason: str,
        note: str = "",
        *,
        say: str = "",
        retry_after: float | None = None,
        limit: str = "",
        code: StatusCode | None = None,
    ) -> None:
        answer = REASONS[reason]
        super().__init__(note or answer.words)
        self.reason = reason
        self.guard = ""  # the stage of the guard that refused, in lower case; the chain fills it in
        self.code = code or answer.code
        self.words = sentence(f"{answer.words}: {say}") if say else answer.words
        self.note = note
        self.retry_after = retry_after
        self.limit = limit
