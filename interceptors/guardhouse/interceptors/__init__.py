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
from .shell_aio import Guarded, aio

if TYPE_CHECKING:
    from .authorization import MethodAuthorization, ModelAuthorization
    from .beside import Beside
    from .collector import exporter_to
    from .deadline import Deadline
    from .export import Exporter
    from .guarding import Issuer, guard
    from .identity import Identity
    from .issuers import IssuerKeys
    from .jwks import Source as JwksSource
    from .keys import KeyStore
    from .keys_live import LiveKeys
    from .ledger import Ledger
    from .policy import Policy
    from .rate import RateLimit
    from .record import Record
    from .shell_sync import sync
    from .tokens import Tokens
    from .validation import Validation

__all__ = [
    "REASONS",
    "Beside",
    "Call",
    "Chain",
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
    "ModelAuthorization",
    "Policy",
    "Principal",
    "RateLimit",
    "Record",
    "Refusal",
    "Stage",
    "Tokens",
    "Validation",
    "aio",
    "current_call",
    "exporter_to",
    "guard",
    "sync",
]

# Read when they are first asked for: a chain of one guard need not load cryptography, numpy and YAML.
_LATER = {
    "Beside": "beside",
    "Deadline": "deadline",
    "Exporter": "export",
    "Identity": "identity",
    "Issuer": "guarding",
    "IssuerKeys": "issuers",
    "JwksSource": "jwks.Source",
    "KeyStore": "keys",
    "Ledger": "ledger",
    "LiveKeys": "keys_live",
    "MethodAuthorization": "authorization",
    "ModelAuthorization": "authorization",
    "Policy": "policy",
    "RateLimit": "rate",
    "Record": "record",
    "Tokens": "tokens",
    "Validation": "validation",
    "exporter_to": "collector",
    "guard": "guarding",
    "sync": "shell_sync",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        """One of `_LATER` (PEP 562)."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, original = _LATER[name].partition(".")
        found = globals()[name] = getattr(import_module(f".{module}", __name__), original or name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
