"""A token issuer for development: ES256 tokens, and the JSON Web Key Set that verifies them.

Its name is an identifier only and is never contacted: the server reads the key set from a file.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

ISSUER: Final = "https://guardhouse.local/dev"
AUDIENCE: Final = "guardhouse"
ALGORITHM: Final = "ES256"
# The issuer writes these itself; a caller's own claims may not replace them.
RESERVED: Final = frozenset({"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "roles", "cnf"})


@dataclass(frozen=True, slots=True)
class Token:
    """A signed token: its compact text, what it claims, and the id of the key that signed it."""

    text: str = field(repr=False)
    claims: Mapping[str, Any]
    kid: str


def create_key() -> bytes:
    """Return a new P-256 signing key as PKCS #8 PEM: write it to files of mode 0600 only."""
    return ECKey.generate_key("P-256").as_pem(private=True)


def load_key(pem: bytes) -> ECKey:
    """Read a signing key. Raises ValueError, in words that hold nothing of the file, where it is none."""
    try:
        key = ECKey.import_key(pem)
    except (ValueError, TypeError, JoseError):
        raise ValueError("it holds no P-256 private key in PEM") from None
    if not key.is_private or key.curve_name != "P-256":
        raise ValueError("it holds no P-256 private key in PEM")
    return key


def key_set(pem: bytes) -> dict[str, Any]:
    """Return the public JWKS (RFC 7517) of a signing key; `kid` is its RFC 7638 thumbprint."""
    key = load_key(pem)
    public = key.as_dict(private=False)
    return {"keys": [{**public, "use": "sig", "alg": ALGORITHM, "kid": key.thumbprint()}]}


def issue_token(
    key: ECKey,
    subject: str,
    *,
    roles: Sequence[str] = (),
    now: float,
    ttl: float,
    audience: str = AUDIENCE,
    claims: Mapping[str, Any] | None = None,
    bound_to: str | None = None,
) -> Token:
    """Sign a token (RFC 7519) for `subject`.

    Args:
        key: What `load_key` returned.
        subject: Who the bearer is; not empty.
        roles: The values of the `roles` claim.
        now: Seconds since the epoch; the token is valid from then.
        ttl: Seconds that it lives; at least one.
        audience: Whom it is for.
        claims: More claims; none of `RESERVED`.
        bound_to: A certificate's `thumbprint`: only its holder may use the token (RFC 8705 section 3.1).

    Raises:
        ValueError: The subject is empty, the time too short, or a claim is the issuer's own.
    """
    taken = sorted(RESERVED & set(claims or {}))
    if taken:
        raise ValueError(f"the claim {taken[0]!r} is the issuer's own and cannot be given")
    if not subject or ttl < 1:
        raise ValueError("a token needs a subject, and at least a second to live")
    start = int(now)
    times = {"iat": start, "nbf": start, "exp": start + int(ttl)}
    body = {"iss": ISSUER, "sub": subject, "aud": audience, **times, "jti": secrets.token_urlsafe(16)}
    body |= {"roles": list(roles), **(claims or {})}
    body |= {"cnf": {"x5t#S256": bound_to}} if bound_to else {}
    kid = key.thumbprint()
    header = {"alg": ALGORITHM, "kid": kid, "typ": "JWT"}
    return Token(jwt.encode(header, body, key, algorithms=[ALGORITHM]), body, kid)


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the certificate's `x5t#S256`: base64url, without padding, of SHA-256 over its DER (RFC 8705)."""
    digest = certificate.fingerprint(hashes.SHA256())
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
