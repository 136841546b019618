"""A chain of guards for any gRPC server: who may call what, how often, and a record of every call.

    with guard(policy="policy.yaml", ledger="ledger", api_keys="keys.db") as chain:
        server = grpc.aio.server(interceptors=[aio(chain)])

`guard` puts the usual chain together; every guard is here by name as well, for a chain of one's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .call import Call, Principal, current_call
from .chain import Chain, Guard, Stage
from .refusal import REASONS, Refusal
from .shells.aio import Guarded, aio

if TYPE_CHECKING:
    from .capture import Capturing
    from .deadline import Deadline
    from .guarding import Issuer, guard
    from .identity import Identity
    from .ledger import Ledger
    from .limits.concurrency import Concurrency
    from .limits.rate import RateLimit
    from .metrics import Metrics
    from .policy import Policy
    from .policy.authorization import MethodAuthorization, ModelAuthorization
    from .record import Record
    from .record.collector import Collector
    from .record.export import Exporter
    from .record.exporting import exporter_to
    from .shells.threaded import sync
    from .tokens import Tokens
    from .tokens.issuers import IssuerKeys
    from .tokens.jwks import Source as JwksSource
    from .tokens.keys import KeyStore
    from .tokens.keys_live import LiveKeys
    from .usage import ReportedTokens, report_tokens
    from .validation import Validation

__all__ = [
    "REASONS",
    "Call",
    "Capturing",
    "Chain",
    "Collector",
    "Concurrency",
    "Deadline",
    "Exporter",
    "Guard",
    "Guarded",
    "Identity",
    "Issuer",
    "IssuerKeys",
    "JwksSource",
    "KeyStore",
    "Ledger",
    "LiveKeys",
    "MethodAuthorization",
    "Metrics",
    "ModelAuthorization",
    "Policy",
    "Principal",
    "RateLimit",
    "Record",
    "Refusal",
    "ReportedTokens",
    "Stage",
    "Tokens",
    "Validation",
    "aio",
    "current_call",
    "exporter_to",
    "guard",
    "report_tokens",
    "sync",
]

# Read when they are first asked for: a chain of one guard need not load cryptography, numpy and YAML.
_LATER = {
    "Collector": "record.collector",
    "Capturing": "capture",
    "Concurrency": "limits.concurrency",
    "Deadline": "deadline",
    "Exporter": "record.export",
    "Identity": "identity",
    "Issuer": "guarding",
    "IssuerKeys": "tokens.issuers",
    "JwksSource": "tokens.jwks:Source",
    "KeyStore": "tokens.keys",
    "Ledger": "ledger",
    "LiveKeys": "tokens.keys_live",
    "MethodAuthorization": "policy.authorization",
    "Metrics": "metrics",
    "ModelAuthorization": "policy.authorization",
    "Policy": "policy",
    "RateLimit": "limits.rate",
    "Record": "record",
    "ReportedTokens": "usage",
    "Tokens": "tokens",
    "Validation": "validation",
    "exporter_to": "record.exporting",
    "guard": "guarding",
    "report_tokens": "usage",
    "sync": "shells.threaded",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        """One of `_LATER` (PEP 562)."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, original = _LATER[name].partition(":")
        found = globals()[name] = getattr(import_module(f".{module}", __name__), original or name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
