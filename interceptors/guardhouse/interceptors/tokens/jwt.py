"""JSON Web Tokens (RFC 7519, 8725, 9068) from known issuers, judged around a library's signature check.

Pure: keys and time are passed in. What a token says of itself chooses between keys we already hold and
nothing else; no header makes us look anywhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from guardhouse.interceptors.refusal import Refusal

from .issuers import IssuerKeys
from .jwk import ALGORITHMS, LONGEST_KID, VerifyingKey
from .strict import NotStrict, base64url, json_object

__all__ = ["IssuerKeys", "Verified", "verify"]

LONGEST: Final = 8192  # bytes of a token
LONGEST_HEADER: Final = 1024  # characters of its base64url
LONGEST_SUBJECT: Final = 512  # characters
LEEWAY: Final = 30.0  # seconds that clocks may differ
LATEST: Final = 253402300799  # the end of the year 9999

TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
# Header members that we know and refuse, by the note the ledger gets; any other unknown one is "jwt_header".
REFUSED_MEMBERS: Final[Mapping[str, str]] = {
    "crit": "jwt_crit",
    "b64": "jwt_crit",
    "jwk": "jwt_embedded_key",
    "jku": "jwt_embedded_key",
    "x5u": "jwt_embedded_key",
    "x5c": "jwt_embedded_key",
    "x5t": "jwt_embedded_key",
    "x5t#S256": "jwt_embedded_key",
    "enc": "jwt_encrypted",
    "cty": "jwt_header",
    "zip": "jwt_header",
}
MEMBERS: Final = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token proves.

    Attributes:
        subject: Its `sub`.
        issuer: Its `iss`.
        claims: All of them.
        expires: Seconds since the epoch from which it proves nothing: `exp` and the leeway, added once.
        key: What verified it; the token stands only as long as the issuer's set holds it.
    """

    subject: str
    issuer: str
    claims: Mapping[str, object]
    expires: float
    key: VerifyingKey


def verify(
    token: str,
    issuers: Mapping[str, IssuerKeys],
    now: float,
    leeway: float = LEEWAY,
    certificate_thumbprint: bytes | None = None,
) -> Verified:
    """Judge a JWT in compact form.

    Args:
        token: What followed "Bearer ".
        issuers: By their exact `iss`.
        now: Seconds since the epoch.
        leeway: Seconds that our clock and the issuer's may differ.
        certificate_thumbprint: SHA-256 of the caller's certificate (DER), if it showed one.

    Raises:
        Refusal: TOKEN_INVALID; TOKEN_EXPIRED if nothing else is wrong with it; KEYS_UNAVAILABLE if its
            issuer's keys are not known at the moment. The note tells the cause.
    """
    first, second, third = _parts(token)
    algorithm, kid = _header(_strict(_object, first))
    claims = _strict(_object, second)
    signature = _strict(base64url, third)
    issuer = _issuer(claims, issuers)
    key = _key(issuer, algorithm, kid)
    if not key.verifies(f"{first}.{second}".encode("ascii"), signature):
        _refuse("jwt_signature")
    _check_audience(claims.get("aud"), issuer.audience)
    subject = _subject(claims)
    expires = _moment(claims, "exp", required=True) + leeway
    if max(_moment(claims, "nbf"), _moment(claims, "iat")) > now + leeway:
        _refuse("jwt_not_yet_valid")
    _check_binding(claims, certificate_thumbprint)
    if now >= expires:
        raise Refusal("TOKEN_EXPIRED", "jwt_expired")
    return Verified(subject, issuer.issuer, MappingProxyType(claims), expires, key)


def _refuse(note: str) -> NoReturn:
    raise Refusal("TOKEN_INVALID", note)


def _strict(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except NotStrict as error:
        _refuse(f"jwt_{error.code}")


def _object(text: str) -> dict[str, Any]:
    return json_object(base64url(text))


def _parts(token: str) -> list[str]:
    if len(token) > LONGEST:
        _refuse("jwt_too_long")
    dots = token.count(".")
    if dots == 4:
        _refuse("jwt_encrypted")
    if dots != 2 or not token.isascii():
        _refuse("jwt_malformed")
    if token.index(".") > LONGEST_HEADER:
        _refuse("jwt_too_long")
    return token.split(".")


def _header(header: dict[str, Any]) -> tuple[str, str | None]:
    """The algorithm and key name that the header claims, if it says nothing we do not expect."""
    algorithm = header.get("alg")
    if isinstance(algorithm, str) and algorithm.lower() == "none":
        _refuse("jwt_alg_none")
    unexpected = header.keys() - MEMBERS
    for member, note in REFUSED_MEMBERS.items():
        if member in unexpected:
            _refuse(note)
    if unexpected:
        _refuse("jwt_header")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        _refuse("jwt_alg_not_allowed")
    _check_type(header)
    return algorithm, _kid(header)


def _check_type(header: dict[str, Any]) -> None:
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        _refuse("jwt_type")


def _kid(header: dict[str, Any]) -> str | None:
    if "kid" not in header:
        return None
    kid = header["kid"]
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
        _refuse("jwt_kid")
    return kid


def _issuer(claims: dict[str, Any], issuers: Mapping[str, IssuerKeys]) -> IssuerKeys:
    name = claims.get("iss")
    issuer = issuers.get(name) if isinstance(name, str) else None
    return issuer if issuer is not None else _refuse("jwt_issuer")


def _key(issuer: IssuerKeys, algorithm: str, kid: str | None) -> VerifyingKey:
    """The issuer's key for this token; its algorithm was settled when it was loaded (CVE-2026-48523)."""
    if algorithm not in issuer.algorithms:
        _refuse("jwt_alg_not_allowed")
    keys = issuer.source.keys
    if keys is None:
        raise Refusal("KEYS_UNAVAILABLE", "jwt_keys_unavailable", retry_after=1.0)
    key = keys.find(kid)
    if key is None:
        issuer.source.ask()
        _refuse("jwt_unknown_kid")
    if key.algorithm != algorithm:
        _refuse("jwt_alg_not_allowed")
    return key


def _check_audience(audience: Any, wanted: str) -> None:
    """Compared whole: `in` on a string would find a part of it (CVE-2024-53861)."""
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        _refuse("jwt_audience")
    if wanted not in audiences:
        _refuse("jwt_audience")


def _subject(claims: dict[str, Any]) -> str:
    """Printable, so that it cannot forge lines of a log; never in the form that API keys are known by."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        _refuse("jwt_claims")
    if not subject.isprintable() or subject != subject.strip() or subject.startswith("api_key:"):
        _refuse("jwt_claims")
    return subject


def _moment(claims: dict[str, Any], claim: str, *, required: bool = False) -> float:
    """A NumericDate (RFC 7519, section 2) in seconds since the epoch; 0 where it may be absent and is."""
    if claim not in claims and not required:
        return 0.0
    moment = claims.get(claim)
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= LATEST:
        _refuse("jwt_claims")
    return float(moment)


def _check_binding(claims: dict[str, Any], thumbprint: bytes | None) -> None:
    """RFC 8705, section 3.1: a bound token is worth nothing without its certificate.

    A confirmation that we cannot check is refused: not to know one must never give more rights.
    """
    if "cnf" not in claims:
        return
    confirmation = claims["cnf"]
    bound = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    if thumbprint is None or not isinstance(bound, str) or len(confirmation) != 1:
        _refuse("jwt_binding")
    if not hmac.compare_digest(_strict(base64url, bound), thumbprint):
        _refuse("jwt_binding")
