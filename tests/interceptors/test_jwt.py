"""JWT: what is accepted, and whose algorithm and key count."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from guardhouse.interceptors.tokens.issuers import Fixed, IssuerKeys
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    ISSUERS,
    NOW,
    OTHER_EC,
    P384,
    RSA,
    certificate,
    claims,
    compact,
    issuer,
    judge,
    jwk,
    key_set,
    part,
    refused,
    signer,
    token,
    usual_set,
)

GOOD = token()


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(EC, "ES256", "ec"), (RSA, "RS256", "rsa"), (ED, "EdDSA", "ed")]
)
def test_a_good_token_proves_its_subject(key: Any, algorithm: str, kid: str) -> None:
    """Each algorithm of the issuer verifies with its own key, and the claims come out."""
    found = judge(token({"alg": algorithm, "kid": kid}, key=key, algorithm=algorithm))
    assert (found.subject, found.issuer, found.claims["aud"]) == ("alice", ISSUER, AUDIENCE)
    assert found.expires == NOW + 600 + 30
    with pytest.raises(TypeError):
        found.claims["aud"] = "other"  # type: ignore[index] # the point of the test


def test_pss_verifies_with_an_rsa_key_bound_to_it() -> None:
    """PS256 works where it is the one algorithm the RSA key is for, and RS256 then does not."""
    issuers = {ISSUER: issuer(key_set(jwk(RSA, "rsa")), ("PS256",))}
    assert judge(token({"alg": "PS256"}, key=RSA, algorithm="PS256"), issuers).subject == "alice"
    wrong = token({"alg": "RS256"}, key=RSA, algorithm="RS256")
    assert refused(wrong, issuers) == ("TOKEN_INVALID", "jwt_alg_not_allowed")


@pytest.mark.parametrize(
    "kind", [..., "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"]
)
def test_types_of_access_tokens_are_accepted(kind: Any) -> None:
    """No `typ`, JWT and at+jwt (RFC 9068) are the same to us, however they are spelt."""
    header = {"alg": "ES256", "kid": "ec", **({} if kind is ... else {"typ": kind})}
    assert judge(token(header)).subject == "alice"


def test_a_token_without_kid_needs_the_only_key() -> None:
    """Without `kid` there must be no choice to make."""
    text = token({"alg": "ES256"})
    assert judge(text, {ISSUER: issuer(key_set(jwk(EC, "a")))}).subject == "alice"
    assert refused(text) == ("TOKEN_INVALID", "jwt_unknown_kid")


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize(
    "signature", ["", unpadded(b"x" * 64), GOOD.split(".")[2]], ids=["no", "any", "good"]
)
def test_alg_none_is_refused(spelling: str, signature: str) -> None:
    """No spelling of `none` passes, signed or not."""
    text = f"{part({'alg': spelling})}.{part(claims())}.{signature}"
    assert refused(text) == ("TOKEN_INVALID", "jwt_alg_none")


@pytest.mark.parametrize(
    "algorithm",
    [
        ...,
        None,
        0,
        1,
        True,
        [],
        ["ES256"],
        {"ES256": 1},
        "",
        " none",
        "none ",
        "es256",
        "ES256 ",
        "ES256\x00",
        "HS256",
        "HS384",
        "HS512",
        "ES384",
        "ES512",
        "RS384",
        "ES256K",
        "Ed25519",
        "PS256",
        "RSA-OAEP",
        "dir",
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_other_algorithms_are_refused(algorithm: Any, signed: bool) -> None:
    """Only an algorithm of the issuer's, spelt exactly, passes; a wrong type is no crash."""
    header = {"kid": "ec", **({} if algorithm is ... else {"alg": algorithm})}
    text = token(header) if signed else f"{part(header)}.{part(claims())}."
    assert refused(text) == ("TOKEN_INVALID", "jwt_alg_not_allowed")


def forms_of_public_key(key: Any, kid: str) -> dict[str, bytes]:
    """Everything an attacker might take for the HMAC secret of HS256."""
    public = key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "pem": pem,
        "pem without end": pem.rstrip(b"\n"),
        "pem crlf": pem.replace(b"\n", b"\r\n"),
        "pem space": b" " + pem,
        "pem trailing space": pem + b" ",
        "pem bom": b"\xef\xbb\xbf" + pem,
        "pem one line": pem.replace(b"\n", b""),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "ssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "certificate pem": certificate(key).public_bytes(Encoding.PEM),
        "certificate der": certificate(key).public_bytes(Encoding.DER),
        "jwk": json.dumps(jwk(key, kid)).encode(),
        "jwks": usual_set(),
        "nested jwks": json.dumps({"set": {"keys": [jwk(key, kid)]}}).encode(),
        "empty": b"",
    }


def mac(secret: bytes, digest: str) -> Callable[[bytes], bytes]:
    """Signs with HMAC."""
    return lambda data: hmac.digest(secret, data, digest)


@pytest.mark.parametrize(("key", "kid"), [(EC, "ec"), (RSA, "rsa"), (ED, "ed")])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_a_public_key_is_no_hmac_secret(key: Any, kid: str, digest: str) -> None:
    """HMAC keyed with any form of the public key is refused, under its own name and under the key's."""
    for form, secret in forms_of_public_key(key, kid).items():
        for algorithm in (f"HS{digest[3:]}", "ES256", "RS256", "EdDSA"):
            text = compact({"alg": algorithm, "kid": kid}, claims(), mac(secret, digest))
            reason, note = refused(text)
            assert (reason, note in ("jwt_alg_not_allowed", "jwt_signature")) == ("TOKEN_INVALID", True), form


@pytest.mark.parametrize(
    "algorithms", [("HS256",), ("ES256", "HS256"), ("none",), ("ES384",), (), "ES256", ("es256",)]
)
def test_an_issuer_with_other_algorithms_cannot_be_made(algorithms: Any) -> None:
    """HMAC, `none`, nothing and misspellings are refused when the issuer is configured, not at a call."""
    with pytest.raises(ValueError, match=r"choose from ES256, RS256, PS256, EdDSA"):
        IssuerKeys(ISSUER, AUDIENCE, algorithms, Fixed(None))


@pytest.mark.parametrize(("name", "audience"), [("", "models"), (ISSUER, "")])
def test_an_issuer_needs_name_and_audience(name: str, audience: str) -> None:
    """An empty `iss` or audience would match tokens that say nothing."""
    with pytest.raises(ValueError, match="exact name and an audience"):
        IssuerKeys(name, audience, ("ES256",), Fixed(None))


def test_the_keys_algorithm_counts_not_the_headers() -> None:
    """A key is bound to one algorithm: another allowed one is refused for it (CVE-2026-48523)."""
    for kid, algorithm, key in (("rsa", "ES256", EC), ("ec", "RS256", RSA), ("ed", "ES256", EC)):
        text = token({"alg": algorithm, "kid": kid}, key=key, algorithm=algorithm)
        assert refused(text) == ("TOKEN_INVALID", "jwt_alg_not_allowed")


def test_keys_that_are_not_the_issuers() -> None:
    """A P-384 signature, another key's, another issuer's key: all wrong signatures or unknown names."""
    p384 = compact({"alg": "ES256", "kid": "ec"}, claims(), signer(P384, "ES384"))
    assert refused(p384) == ("TOKEN_INVALID", "jwt_signature")
    assert refused(token(key=OTHER_EC)) == ("TOKEN_INVALID", "jwt_signature")
    other = issuer(key_set(jwk(OTHER_EC, "theirs")), issuer="https://other.example")
    both = {**ISSUERS, "https://other.example": other}
    borrowed = token({"alg": "ES256", "kid": "theirs"}, key=OTHER_EC)
    assert refused(borrowed, both) == ("TOKEN_INVALID", "jwt_unknown_kid")
    foreign = token({"alg": "ES256", "kid": "theirs"}, claims(iss="https://other.example"), OTHER_EC)
    assert judge(foreign, both).issuer == "https://other.example"
