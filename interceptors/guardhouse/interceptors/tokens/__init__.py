"""The guard that turns `authorization: Bearer …` into the principal of the call: a JWT or an API key."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.refusal import Refusal

from .jwk import VerifyingKey
from .jwt import LEEWAY, LONGEST, IssuerKeys, verify
from .key_records import PREFIX, KeyRecord
from .keys_live import LiveKeys

SCHEME: Final = "bearer "


class Proof(Protocol):
    """What a credential's word rests on, for as long as the call runs."""

    def check(self, now: float) -> None:
        """Raise `Refusal` if it no longer holds at *now*, seconds since the epoch. Asked per message."""


@dataclass(frozen=True, slots=True)
class TokenProof:
    """A JWT: good until it expires, or its issuer takes back the key that signed it."""

    issuer: IssuerKeys
    key: VerifyingKey
    expires: float

    def check(self, now: float) -> None:
        """TOKEN_EXPIRED, TOKEN_INVALID or KEYS_UNAVAILABLE."""
        if now >= self.expires:
            raise Refusal("TOKEN_EXPIRED", "jwt_expired")
        keys = self.issuer.source.keys
        if keys is None:
            raise Refusal("KEYS_UNAVAILABLE", "jwt_keys_unavailable", retry_after=1.0)
        if not keys.holds(self.key):
            raise Refusal("TOKEN_INVALID", "jwt_key_withdrawn")


@dataclass(frozen=True, slots=True)
class KeyProof:
    """An API key: good until it expires or is revoked."""

    keys: LiveKeys
    record: KeyRecord

    def check(self, now: float) -> None:
        """TOKEN_INVALID or KEYS_UNAVAILABLE."""
        if note := self.keys.lapse(self.record, now):
            raise Refusal("TOKEN_INVALID", note)


@dataclass(frozen=True, slots=True, eq=False)
class Bearer(Principal):
    """A principal who showed a token, and what that token rests on."""

    proof: Proof | None = None


class Tokens(Guard):
    """Asks for a bearer token and says whose it is. A certificate already proved stays part of the principal.

    Args:
        issuers: Whose JWTs are accepted; no two of one name.
        keys: The API keys, or None for no API keys.
        required: Whether a call without a token is refused.
        cache_size: How many verified tokens are remembered.
        leeway: Seconds that our clock and the issuers' may differ.

    Raises:
        ValueError: Two issuers have one name, or a token is required and none could be accepted.
    """

    stage = Stage.TOKEN

    def __init__(
        self,
        issuers: Sequence[IssuerKeys] = (),
        keys: LiveKeys | None = None,
        required: bool = True,
        cache_size: int = 65536,
        *,
        leeway: float = LEEWAY,
    ) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is named twice")
        if required and not issuers and keys is None:
            raise ValueError("a token is required, but there is neither an issuer nor a store of API keys")
        self._keys = keys
        self._required = required
        self._leeway = leeway
        self._known: Bounded[tuple[bytes, bytes, str], Bearer] = Bounded(cache_size)
        self._thumbprints: Bounded[bytes, bytes] = Bounded(4096)

    def admit(self, call: Call) -> None:
        """Set `call.principal`, or refuse."""
        if call.open:
            return
        values = call.values("authorization")
        if not values:
            if self._required:
                raise Refusal("TOKEN_MISSING")
            return
        token = bearer(values)
        thumbprint = self._thumbprint(call)
        place = (hashlib.sha256(token.encode()).digest(), thumbprint, call.principal.certificate)
        known = self._known.get(place)
        if known is None:
            known = self._prove(token, call, thumbprint)
            self._known.put(place, known)
        check(known, call.wall)
        call.principal = known

    def again(self, call: Call, incoming: bool) -> None:
        """A token that has expired or was revoked ends an open stream."""
        check(call.principal, call.wall)

    def _prove(self, token: str, call: Call, thumbprint: bytes) -> Bearer:
        if token.startswith(PREFIX):
            return self._key_holder(token, call)
        verified = verify(token, self._issuers, call.wall, self._leeway, thumbprint or None)
        base = call.principal
        return Bearer(
            name=verified.subject,
            certificate=base.certificate,
            subject=verified.subject,
            issuer=verified.issuer,
            claims=verified.claims,
            proofs=(*base.proofs, "jwt"),
            expires=earliest(base.expires, verified.expires),
            proof=TokenProof(self._issuers[verified.issuer], verified.key, verified.expires),
        )

    def _key_holder(self, token: str, call: Call) -> Bearer:
        if self._keys is None:
            raise Refusal("TOKEN_INVALID", "key_not_accepted")
        record, note = self._keys.judge(token, call.wall)
        if note:
            raise Refusal("TOKEN_INVALID", note)
        base = call.principal
        return Bearer(
            name=f"api_key:{record.name}",
            certificate=base.certificate,
            api_key=record.name,
            proofs=(*base.proofs, "api_key"),
            expires=earliest(base.expires, record.expires),
            proof=KeyProof(self._keys, record),
        )

    def _thumbprint(self, call: Call) -> bytes:
        """That of the caller's certificate, or b"" if it showed none."""
        found = call.auth.get("x509_pem_cert")
        if not found:
            return b""
        pem = found[0]
        thumbprint = self._thumbprints.get(pem)
        if thumbprint is None:
            thumbprint = certificate_thumbprint(pem)
            self._thumbprints.put(pem, thumbprint)
        return thumbprint


def certificate_thumbprint(pem: bytes) -> bytes:
    """SHA-256 of a certificate in DER (RFC 8705, section 3.1). Refusal if it is none."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).digest()
    except ValueError:
        raise Refusal("CERTIFICATE_INVALID", "certificate_unreadable") from None


def bearer(values: Sequence[str | bytes]) -> str:
    """The token in `authorization`: one value, "Bearer", one blank (RFC 6750, section 2.1)."""
    if len(values) > 1:
        raise Refusal("TOKEN_INVALID", "two_tokens")
    value = values[0]
    if not isinstance(value, str) or value[: len(SCHEME)].lower() != SCHEME:
        raise Refusal("TOKEN_INVALID", "not_bearer")
    token = value[len(SCHEME) :]
    if len(token) > LONGEST:
        raise Refusal("TOKEN_INVALID", "jwt_too_long")
    if not token or " " in token or not token.isascii():
        raise Refusal("TOKEN_INVALID", "token_malformed")
    return token


def check(principal: Principal, now: float) -> None:
    """Refuse if what *principal* showed no longer holds at *now*, seconds since the epoch."""
    if isinstance(principal, Bearer) and principal.proof is not None:
        principal.proof.check(now)
    if principal.expires is not None and now >= principal.expires:
        raise Refusal("CERTIFICATE_EXPIRED", "certificate_expired")


def earliest(*moments: float | None) -> float | None:
    """The first of *moments*; None is never."""
    return min((moment for moment in moments if moment is not None), default=None)
