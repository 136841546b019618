"""A failed call in one line for a person: what it means, and what to do."""

import math
from typing import Any, Final

from grpc import StatusCode

from .errors import GuardhouseError

# By the server's reason. Where there is no entry, the server's own words have to do.
BY_REASON: Final[dict[str, str]] = {
    "CERTIFICATE_EXPIRED": "issue a new certificate, and name it in client.yaml",
    "CERTIFICATE_INVALID": "name the certificate that the server's CA issued to you in client.yaml",
    "CERTIFICATE_MISSING": "name certificate and key in client.yaml",
    "TOKEN_MISSING": "name a token_file in client.yaml, or give --token-file FILE",
    "TOKEN_INVALID": "get a token that this server accepts, and is meant for this certificate",
    "TOKEN_EXPIRED": "get a new token, and put it into the token file",
    "METHOD_DENIED": "ask the operator for a role that allows it; guardhouse whoami shows yours",
    "MODEL_DENIED": "ask the operator for a role that allows it; guardhouse whoami shows yours",
    "MODEL_UNPRICED": "ask the operator for a price of the model",
    "MODEL_UNKNOWN": "check the name and the version of the model",
    "MODEL_FAILED": "tell the operator the error id",
    "INTERNAL": "tell the operator the error id",
    "TOO_LARGE": "ask with fewer items at once",
    "BUDGET_EXHAUSTED": "ask for less at once; guardhouse whoami shows the budgets",
}

BY_CODE: Final[dict[StatusCode, str]] = {
    StatusCode.UNAVAILABLE: "check that the server runs and is named right",
    StatusCode.DEADLINE_EXCEEDED: "allow more time with --timeout, or ask for less at once",
    StatusCode.UNIMPLEMENTED: "this server does not offer it",
}

# By grpc's own words, in lower case, where it ended the call itself: then there is no reason.
BY_WORDS: Final[tuple[tuple[StatusCode, tuple[str, ...], str], ...]] = (
    (
        StatusCode.UNAVAILABLE,
        ("handshake", "certificate_verify_failed", "ssl", "socket closed", "connection reset"),
        "the TLS handshake failed: check ca, certificate and key in client.yaml",
    ),
    (StatusCode.RESOURCE_EXHAUSTED, ("message larger than max",), "ask with fewer items at once"),
    (StatusCode.RESOURCE_EXHAUSTED, ("metadata size exceeds",), "send less metadata: a shorter token"),
)


def advice(error: GuardhouseError) -> str:
    """Return what to do about the error, "" where nobody can say."""
    if error.retry_after is not None:
        return f"try again in {_spell(error.retry_after)}"
    by_words = "" if error.reason else _by_words(error.code, error.message.lower())
    return BY_REASON.get(error.reason) or by_words or BY_CODE.get(error.code, "")


def _spell(seconds: float) -> str:
    """Return a time to wait as people say it: a budget may be spent for weeks."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = math.ceil(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _by_words(code: StatusCode, message: str) -> str:
    found = (what for of, signs, what in BY_WORDS if of is code and any(sign in message for sign in signs))
    return next(found, "")


def line(error: GuardhouseError) -> str:
    """Return the error, the advice, and the ids to ask the operator with, on one line."""
    ids = [
        f"error {error.error_id}" if error.error_id else "",
        f"trace {error.trace_id}: guardhouse traces {error.trace_id}" if error.trace_id else "",
    ]
    text = "; ".join(filter(None, [str(error), advice(error)]))
    found = ", ".join(filter(None, ids))
    return f"{text} ({found})" if found else text


def as_json(error: GuardhouseError) -> dict[str, Any]:
    """Return the error as values that JSON can hold."""
    return {
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "advice": advice(error),
        "error_id": error.error_id,
        "trace_id": error.trace_id,
        "retry_after": error.retry_after,
    }
