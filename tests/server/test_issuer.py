"""The development issuer: its tokens verify against its key set, by a library that knows neither."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet

from guardhouse.server import issuer, pki

NOW = 1_800_000_000.75


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A signing key, PEM."""
    return issuer.create_key()


def issue(pem: bytes, **options: Any) -> issuer.Token:
    """A token for ann that lives a minute."""
    return issuer.issue_token(issuer.load_key(pem), "ann", now=NOW, ttl=60, **options)


def test_token_verifies_against_the_key_set(pem: bytes) -> None:
    """The signature holds under the published key; the claims are the standard ones and the roles."""
    token = issue(pem, roles=["analyst"], claims={"groups": ["a", "b"]})
    keys = KeySet.import_key_set(json.loads(json.dumps(issuer.key_set(pem))))
    read = jwt.decode(token.text, keys, algorithms=["ES256"])
    start = int(NOW)
    assert read.header == {"alg": "ES256", "typ": "JWT", "kid": issuer.key_set(pem)["keys"][0]["kid"]}
    assert read.claims.pop("jti")
    assert read.claims == {
        "iss": "https://guardhouse.local/dev",
        "sub": "ann",
        "aud": "guardhouse",
        "iat": start,
        "nbf": start,
        "exp": start + 60,
        "roles": ["analyst"],
        "groups": ["a", "b"],
    }


def test_another_key_does_not_verify(pem: bytes) -> None:
    """A token of one key is refused under another."""
    other = ECKey.import_key(issuer.create_key())
    with pytest.raises(BadSignatureError):
        jwt.decode(issue(pem).text, other, algorithms=["ES256"])


def test_key_set_is_public_and_named_by_its_thumbprint(pem: bytes) -> None:
    """The key set holds no private part; `kid` is the thumbprint of RFC 7638, computed here by hand."""
    (key,) = issuer.key_set(pem)["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "use", "alg", "kid"}
    required = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    digest = hashlib.sha256(required.encode()).digest()
    assert key["kid"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_token_is_bound_to_a_certificate(pem: bytes) -> None:
    """A bound token carries `cnf` with the SHA-256 of the certificate's DER, and an unbound one has none."""
    now = datetime.now(UTC)
    certificate = pki.create_authority("guardhouse.local", now=now).certificate
    der = base64.b64decode("".join(certificate_lines(certificate)))
    expected = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    assert issue(pem, bound_to=issuer.thumbprint(certificate)).claims["cnf"] == {"x5t#S256": expected}
    assert "cnf" not in issue(pem).claims


def certificate_lines(certificate: x509.Certificate) -> list[str]:
    """The lines of base64 in a certificate's PEM."""
    return certificate.public_bytes(Encoding.PEM).decode().splitlines()[1:-1]


def test_every_token_has_its_own_id(pem: bytes) -> None:
    """Two tokens of the same moment differ in `jti`, so that one can be revoked alone."""
    assert issue(pem).claims["jti"] != issue(pem).claims["jti"]


def test_token_text_stays_out_of_the_representation(pem: bytes) -> None:
    """Printing a token object does not print the token."""
    token = issue(pem)
    assert token.text not in repr(token)


@pytest.mark.parametrize("name", sorted(issuer.RESERVED))
def test_the_issuers_own_claims_cannot_be_given(pem: bytes, name: str) -> None:
    """No extra claim replaces one that the issuer writes."""
    with pytest.raises(ValueError, match=name):
        issue(pem, claims={name: "x"})


@pytest.mark.parametrize(("subject", "ttl"), [("", 60), ("ann", 0), ("ann", -1), ("ann", 0.5)])
def test_nobody_and_no_time_are_refused(pem: bytes, subject: str, ttl: float) -> None:
    """A token without a subject, or that would be expired at once, is not signed."""
    with pytest.raises(ValueError, match="subject"):
        issuer.issue_token(issuer.load_key(pem), subject, now=NOW, ttl=ttl)


@pytest.mark.parametrize("kind", ["empty", "text", "public", "P-384"])
def test_only_a_private_p256_key_signs(pem: bytes, kind: str) -> None:
    """No PEM, a public key and a key of another curve are refused without a word of their content."""
    wrong = {
        "empty": b"",
        "text": b"SECRET-CANARY",
        "public": ECKey.import_key(pem).as_pem(private=False),
        "P-384": ECKey.generate_key("P-384").as_pem(private=True),
    }
    with pytest.raises(ValueError, match="no P-256 private key") as caught:
        issuer.load_key(wrong[kind])
    assert "CANARY" not in str(caught.value)
