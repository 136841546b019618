"""The token guard: whose token it is, and beside whose certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardhouse.interceptors import Chain, Principal, Refusal, Stage
from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.tokens import Tokens
from guardhouse.interceptors.tokens.issuers import Fixed
from guardhouse.interceptors.tokens.key_records import new_key
from guardhouse.interceptors.tokens.keys import KeyStore, LiveKeys
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import (
    HOLDER,
    ISSUER,
    NOW,
    OTHER_EC,
    OTHER_PEM,
    PEM,
    THUMBPRINT,
    admitted,
    call,
    claims,
    issuer,
    token,
    turned_away,
)

GOOD = token()


@pytest.fixture
def guard() -> Tokens:
    return Tokens([issuer()])


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.db")


@pytest.fixture
def live(store: KeyStore) -> Iterator[LiveKeys]:
    found = LiveKeys(store)
    yield found
    found.stop()


def test_a_jwt_names_the_principal(guard: Tokens) -> None:
    """Subject, issuer, claims and expiry come from the token; the same again gives the same principal."""
    who = admitted(guard, f"Bearer {GOOD}").principal
    assert (who.name, who.subject, who.issuer) == ("alice", "alice", ISSUER)
    assert (who.api_key, who.certificate) == ("", "")
    assert (who.proofs, who.expires, who.claims["aud"]) == (("jwt",), NOW + 630, "models")
    assert admitted(guard, f"Bearer {GOOD}").principal is who


@pytest.mark.parametrize("ends", [NOW + 100, NOW + 10_000])
def test_a_certificate_stays_beside_the_token(guard: Tokens, ends: float) -> None:
    """What mutual TLS proved comes first, and the earlier expiry counts."""
    holder = Principal("spiffe://acme/a", certificate="spiffe://acme/a", proofs=("mtls",), expires=ends)
    who = admitted(guard, f"Bearer {GOOD}", pem=PEM, principal=holder).principal
    assert (who.name, who.certificate, who.proofs) == ("alice", "spiffe://acme/a", ("mtls", "jwt"))
    assert who.expires == min(ends, NOW + 630)


def test_an_api_key_names_the_principal(store: KeyStore, live: LiveKeys) -> None:
    """The name of the key, marked as such, beside the certificate if there is one."""
    key = store.create("ops", expires=NOW + 60, now=NOW)
    live.refresh()
    guard = Tokens([], live)
    who = admitted(guard, f"Bearer {key}", pem=PEM, principal=HOLDER).principal
    assert (who.name, who.api_key, who.subject, who.issuer) == ("api_key:ops", "ops", "", "")
    assert (who.certificate, who.proofs, who.expires) == ("spiffe://acme/a", ("mtls", "api_key"), NOW + 60)
    assert admitted(guard, f"Bearer {key}").principal.proofs == ("api_key",)


HEADERS: dict[str, tuple[tuple[str | bytes, ...], str]] = {
    "two": ((f"Bearer {GOOD}", f"Bearer {GOOD}"), "two_tokens"),
    "two, one empty": (("", f"Bearer {GOOD}"), "two_tokens"),
    "bytes": ((f"Bearer {GOOD}".encode(),), "not_bearer"),
    "empty": (("",), "not_bearer"),
    "no scheme": ((GOOD,), "not_bearer"),
    "scheme alone": (("Bearer",), "not_bearer"),
    "no token": (("Bearer ",), "token_malformed"),
    "only blanks": (("Bearer   ",), "token_malformed"),
    "Basic": ((f"Basic {GOOD}",), "not_bearer"),
    "DPoP": ((f"DPoP {GOOD}",), "not_bearer"),
    "two blanks": ((f"Bearer  {GOOD}",), "token_malformed"),
    "tab": ((f"Bearer\t{GOOD}",), "not_bearer"),
    "blank before": ((f" Bearer {GOOD}",), "not_bearer"),
    "blank after": ((f"Bearer {GOOD} ",), "token_malformed"),
    "two in one": ((f"Bearer {GOOD} {GOOD}",), "token_malformed"),
    "two with a comma": ((f"Bearer {GOOD},Bearer {GOOD}",), "token_malformed"),
    "two with a comma and no blank": ((f"Bearer {GOOD},{GOOD}",), "jwt_encrypted"),
    "not ascii": (("Bearer ünïcode",), "token_malformed"),
    "half a surrogate": (("Bearer \ud800",), "token_malformed"),
    "9 KiB": (("Bearer " + "x" * 9216,), "jwt_too_long"),
    "a key where there are none": ((f"Bearer {new_key()}",), "key_not_accepted"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("required", [True, False])
def test_values_of_authorization_that_are_refused(case: str, required: bool) -> None:
    """One value, "Bearer", one blank and a token; anything else is refused, also where none is required."""
    values, note = HEADERS[case]
    assert turned_away(Tokens([issuer()], required=required), *values) == ("TOKEN_INVALID", note)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_any_case(guard: Tokens, scheme: str) -> None:
    """Schemes do not depend on case (RFC 9110, section 11.1)."""
    assert admitted(guard, f"{scheme} {GOOD}").principal.name == "alice"


def test_without_a_token(guard: Tokens) -> None:
    """None is refused where one is required; elsewhere the certificate's holder stays who calls."""
    assert turned_away(guard) == ("TOKEN_MISSING", "")
    assert admitted(Tokens([issuer()], required=False), principal=HOLDER).principal is HOLDER


def test_open_methods_are_not_judged(guard: Tokens) -> None:
    """A method on the open list needs no token, and a bad one does it no harm."""
    for values in ((), ("Bearer rubbish",), ("a", "b")):
        assert admitted(guard, *values, open=True).principal.name == ""


def test_a_bound_token_is_good_with_its_certificate_only(guard: Tokens) -> None:
    """Stolen, it is refused to another certificate and to none, also once its holder warmed the cache."""
    text = token(payload=claims(cnf={"x5t#S256": unpadded(THUMBPRINT)}))
    for _ in range(2):
        assert admitted(guard, f"Bearer {text}", pem=PEM).principal.name == "alice"
        for pem in (OTHER_PEM, b""):
            assert turned_away(guard, f"Bearer {text}", pem=pem) == ("TOKEN_INVALID", "jwt_binding")


def test_one_token_with_two_certificates_is_two_principals(guard: Tokens) -> None:
    """The cache never lends one caller's certificate to another."""
    other = Principal("spiffe://acme/b", certificate="spiffe://acme/b", proofs=("mtls",))
    for _ in range(2):
        first = admitted(guard, f"Bearer {GOOD}", pem=PEM, principal=HOLDER).principal
        second = admitted(guard, f"Bearer {GOOD}", pem=OTHER_PEM, principal=other).principal
        third = admitted(guard, f"Bearer {GOOD}").principal
        assert [who.certificate for who in (first, second, third)] == [
            "spiffe://acme/a",
            "spiffe://acme/b",
            "",
        ]


def test_a_certificate_counts_only_as_far_as_it_was_judged(guard: Tokens) -> None:
    """The name of the holder is the identity guard's to give, also with the same certificate."""
    for _ in range(2):
        assert admitted(guard, f"Bearer {GOOD}", pem=PEM).principal.certificate == ""
        known = admitted(guard, f"Bearer {GOOD}", pem=PEM, principal=HOLDER).principal
        assert known.certificate == "spiffe://acme/a"


def test_a_certificate_that_cannot_be_read(guard: Tokens) -> None:
    """What is no certificate is no binding either."""
    assert turned_away(guard, f"Bearer {GOOD}", pem=b"\xff") == (
        "CERTIFICATE_INVALID",
        "certificate_unreadable",
    )


def test_what_was_refused_is_not_remembered_as_good(guard: Tokens) -> None:
    """A refused token is refused the next time too; a good one is remembered, in bounded room."""
    forged = token(key=OTHER_EC)
    for _ in range(3):
        assert turned_away(guard, f"Bearer {forged}") == ("TOKEN_INVALID", "jwt_signature")
    small = Tokens([issuer()], cache_size=3)
    for each in range(10):
        assert (
            admitted(small, f"Bearer {token(payload=claims(sub=f'user{each}'))}").principal.name
            == f"user{each}"
        )
    assert isinstance(small._known, Bounded)
    assert len(small._known) == 3


def test_a_guard_that_could_never_let_anybody_in_is_not_made() -> None:
    """Two issuers of one name, or a required token that nobody could have, stop the start."""
    with pytest.raises(ValueError, match="named twice"):
        Tokens([issuer(), issuer(source=Fixed(None))])
    with pytest.raises(ValueError, match="neither an issuer nor a store"):
        Tokens([])
    assert Tokens([], required=False).stage is Stage.TOKEN


def test_it_stands_in_a_chain_with_all_its_verbs(guard: Tokens) -> None:
    """The chain calls it before any message, and again for each message in both directions."""
    chain = Chain(guard)
    running = call(f"Bearer {GOOD}")
    chain.admit(running)
    running.principal = Principal("alice", expires=1.0)  # by the chain's own clock long ago
    for incoming in (True, False):
        with pytest.raises(Refusal):
            chain.again(running, incoming=incoming)
