"""What three guards decided is remembered for the same proofs, and for nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors import Call, Identity, KeyStore, MethodAuthorization, Policy, Refusal, Tokens
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_READY
from guardhouse.interceptors.passports import Passports
from guardhouse.interceptors.tokens.keys_live import LiveKeys

from .certificates import WORKLOAD, leaf, uri
from .issuers import claims, issuer, token

NOW = time.time()  # certificates are made now

POLICY = f"""
roles:
  user: {{allow: [{{methods: [ModelInfer], models: [digits]}}]}}
bindings:
  - {{role: user, subject: alice}}
  - {{role: user, subject: "{WORKLOAD}"}}
  - {{role: user, api_key: ops}}
"""
PEM, OTHER = leaf(uri(WORKLOAD)).pem, leaf(uri("spiffe://acme/ns/ml/sa/other")).pem
LIFE = {"iat": NOW, "nbf": NOW, "exp": NOW + 600}
GOOD, STRANGER = token(payload=claims(**LIFE)), token(payload=claims(**LIFE, sub="mallory"))


def _passports(required: bool = False, **more: Any) -> Passports:
    tokens = Tokens([issuer()], required=False, **more)
    return Passports(Identity(required=required), tokens, MethodAuthorization(Policy.parse(POLICY)))


def _call(*authorization: str, pem: bytes = b"", method: str = MODEL_INFER, wall: float = NOW) -> Call:
    auth = {"x509_pem_cert": [pem]} if pem else {}
    metadata = tuple(("authorization", value) for value in authorization)
    return Call(method, metadata, True, 0, 0, peer="ipv4:10.0.0.1:5", wall=wall, auth=auth)


def _outcome(guard: Passports, call: Call) -> tuple[str, str]:
    """Who it is and by which rule, or the reason and the guard of the refusal."""
    try:
        guard.admit(call)
    except Refusal as refusal:
        return refusal.reason, refusal.guard
    return call.principal.name, call.rule


CASES: dict[str, Callable[[], Call]] = {
    "the same": lambda: _call(f"Bearer {GOOD}"),
    "no token": lambda: _call(),
    "another token": lambda: _call(f"Bearer {STRANGER}"),
    "a broken token": lambda: _call(f"Bearer {GOOD}x"),
    "a prefix of it": lambda: _call(f"Bearer {GOOD[:-1]}"),
    "twice the token": lambda: _call(f"Bearer {GOOD}", f"Bearer {GOOD}"),
    "an empty one before it": lambda: _call("", f"Bearer {GOOD}"),
    "an empty one": lambda: _call(""),
    "another method": lambda: _call(f"Bearer {GOOD}", method=MODEL_READY),
    "expired meanwhile": lambda: _call(f"Bearer {GOOD}", wall=NOW + 630),
    "a certificate as well": lambda: _call(f"Bearer {GOOD}", pem=PEM),
    "a certificate instead": lambda: _call(pem=PEM),
    "another certificate": lambda: _call(pem=OTHER),
}


@pytest.mark.parametrize("after", CASES)
@pytest.mark.parametrize("before", CASES)
def test_it_says_what_the_three_would_say(before: str, after: str) -> None:
    """Whoever came before over the same connection: the decision is that of guards that remember nothing."""
    warm = _passports()
    for _ in range(2):
        _outcome(warm, CASES[before]())

    assert _outcome(warm, CASES[after]()) == _outcome(_passports(), CASES[after]())


def test_the_three_are_asked_once() -> None:
    """The same proofs a second time get the same principal without asking them."""
    guard = _passports()
    first, second = _call(f"Bearer {GOOD}", pem=PEM), _call(f"Bearer {GOOD}", pem=PEM)
    guard.admit(first)
    guard._authorization = None  # type: ignore[assignment] # whoever asks it now fails
    guard.admit(second)

    assert second.principal is first.principal
    assert (second.grant, second.rule) == (first.grant, "user.allow[0]")


def test_a_certificate_that_ends_and_a_key_that_is_revoked(tmp_path: Path) -> None:
    """What time and revocation change is asked every time; the refusal names the guard that it is of."""
    store = KeyStore(tmp_path / "keys.db")
    key = store.create("ops", now=NOW)
    live = LiveKeys(store)
    guard = Passports(Identity(required=False), Tokens([], live), MethodAuthorization(Policy.parse(POLICY)))
    assert _outcome(guard, _call(f"Bearer {key}", pem=PEM)) == ("api_key:ops", "user.allow[0]")
    assert _outcome(guard, _call(f"Bearer {key}", pem=PEM, wall=NOW + 1e9)) == (
        "CERTIFICATE_EXPIRED",
        "identity",
    )
    store.revoke("ops", NOW)
    live.refresh()

    assert _outcome(guard, _call(f"Bearer {key}", pem=PEM)) == ("TOKEN_INVALID", "token")


def test_refusals_and_unknown_methods_are_not_remembered() -> None:
    """Nothing is kept of a caller who is turned away: strangers cannot push out those who are let in."""
    guard = _passports()
    for number in range(100):
        unknown = _call(f"Bearer {GOOD}")
        unknown.known, unknown.peer = False, f"ipv4:10.0.0.2:{number}"
        _outcome(guard, unknown)
        _outcome(guard, _call("Bearer x"))

    assert len(guard) == 0
