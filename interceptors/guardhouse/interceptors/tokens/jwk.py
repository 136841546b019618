"""Key sets (RFC 7517) of token issuers: which keys are fit to verify with, and for which one algorithm.

A key is bound to its algorithm here, when the set is read; what a token's header says can only agree or be
refused. Only public keys of asymmetric algorithms come through, so no key can ever serve as an HMAC secret.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from .strict import NotStrict, base64url, json_object

MOST_BYTES: Final = 1024 * 1024
MOST_KEYS: Final = 256
LONGEST_KID: Final = 256  # characters

# algorithm -> the only kind of key it may use: (kty, crv)
ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "ES256": ("EC", "P-256"),
        "RS256": ("RSA", ""),
        "PS256": ("RSA", ""),
        "EdDSA": ("OKP", "Ed25519"),
    }
)
# kty -> its public members with their length in bytes, 0 for any (RFC 7518, section 6; RFC 8037, section 2)
PUBLIC: Final[Mapping[str, Mapping[str, int]]] = {
    "EC": {"x": 32, "y": 32},
    "OKP": {"x": 32},
    "RSA": {"n": 0, "e": 0},
}
PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KINDS: Final[Mapping[str, Any]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}

# The primes whose residues give away moduli of the broken Infineon library (CVE-2017-15361).
_ROCA: Final = tuple(
    (prime, frozenset(pow(65537, power, prime) for power in range(prime)))
    for prime in range(3, 168)
    if all(prime % smaller for smaller in range(2, math.isqrt(prime) + 1))
)


class Unfit(ValueError):  # noqa: N818 - named for what the key is
    """A key that may not be used; the text is a code for the operator."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the one algorithm it verifies. Equal if both are, whatever object holds them.

    Attributes:
        kid: Its name in the set; its thumbprint where the set gives none.
        algorithm: A key of `ALGORITHMS`.
        thumbprint: RFC 7638, SHA-256.
    """

    kid: str
    algorithm: str
    thumbprint: str
    _key: Any = field(compare=False, repr=False)

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Whether *signature* (as in a JWS) over *data* was made by the holder of the private key."""
        try:
            return bool(JWSRegistry.algorithms[self.algorithm].verify(data, signature, self._key))
        except Exception:  # whatever a library stumbles over is no proof
            return False


@dataclass(frozen=True, slots=True)
class KeySet:
    """The fit keys of one issuer.

    Attributes:
        keys: By `kid`.
        notes: What was dropped and why, one code per key, for the operator.
    """

    keys: Mapping[str, VerifyingKey]
    notes: tuple[str, ...] = ()

    def find(self, kid: str | None) -> VerifyingKey | None:
        """The key called *kid*; without a name, the only key there is."""
        if kid is None:
            return next(iter(self.keys.values())) if len(self.keys) == 1 else None
        return self.keys.get(kid)

    def holds(self, key: VerifyingKey) -> bool:
        """Whether *key* is still in the set, unchanged."""
        found = self.keys.get(key.kid)
        return found is key or found == key


def supported(algorithms: Collection[str]) -> frozenset[str]:
    """*algorithms* as a set. ValueError if there is none, or one that nobody may use (HMAC, `none`)."""
    unknown = sorted(set(algorithms) - ALGORITHMS.keys())
    if isinstance(algorithms, str) or not algorithms or unknown:
        wrong = f"{', '.join(unknown)}: not allowed" if unknown else "no algorithm is named"
        raise ValueError(f"{wrong}; choose from {', '.join(ALGORITHMS)}")
    return frozenset(algorithms)


def parse(data: bytes, algorithms: Collection[str]) -> KeySet:
    """Read a JWK set. A key that is unfit is dropped with a note; keys that share a name are all dropped.

    Args:
        data: The JSON text, at most 1 MiB, with at most 256 keys.
        algorithms: What the issuer may sign with, out of `ALGORITHMS`.

    Raises:
        ValueError: It is no JWK set. The text names no content of it.
    """
    allowed = supported(algorithms)
    notes: list[str] = []
    found = list(_read_all(_entries(data), allowed, notes))
    times = Counter(key.kid for key in found)
    notes += sorted({"duplicate_kid" for key in found if times[key.kid] > 1})
    keys = {key.kid: key for key in found if times[key.kid] == 1}
    return KeySet(MappingProxyType(keys), tuple(notes))


def _entries(data: bytes) -> list[Any]:
    if len(data) > MOST_BYTES:
        raise ValueError("the key set is larger than 1 MiB")
    try:
        entries = json_object(data).get("keys")
    except NotStrict as error:
        raise ValueError(f"the key set is no proper JSON object ({error.code})") from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise ValueError(f'the key set has no list "keys" of at most {MOST_KEYS}')
    return entries


def _read_all(entries: list[Any], allowed: frozenset[str], notes: list[str]) -> Iterator[VerifyingKey]:
    for place, entry in enumerate(entries):
        try:
            yield _read(entry, allowed)
        except Unfit as error:
            notes.append(f"key {place}: {error}")


def _read(jwk: Any, allowed: frozenset[str]) -> VerifyingKey:
    _check_purpose(jwk)
    algorithm = _algorithm(jwk, allowed)
    public = _public(jwk, *ALGORITHMS[algorithm])
    try:
        key = _KINDS[public["kty"]].import_key(public)
        thumbprint = key.thumbprint()
    except Exception:  # one key that a library stumbles over must not spoil the set
        raise Unfit("not_a_valid_key") from None
    return VerifyingKey(_kid(jwk, thumbprint), algorithm, thumbprint, key)


def _check_purpose(jwk: Any) -> None:
    if not isinstance(jwk, dict):
        raise Unfit("not_an_object")
    if jwk.get("kty") == "oct" or "k" in jwk:
        raise Unfit("symmetric")
    if PRIVATE & jwk.keys():
        raise Unfit("private_key_published")
    if "use" in jwk and jwk["use"] != "sig":
        raise Unfit("wrong_use")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise Unfit("wrong_key_ops")


def _algorithm(jwk: dict[str, Any], allowed: frozenset[str]) -> str:
    """The one algorithm this key is for: the one it names, or the only one of the issuer's that fits."""
    kind = (jwk.get("kty"), jwk.get("crv", "")) if jwk.get("kty") != "RSA" else ("RSA", "")
    fitting = [algorithm for algorithm in allowed if ALGORITHMS[algorithm] == kind]
    if not fitting:
        raise Unfit("wrong_kind_of_key")
    if "alg" in jwk:
        if jwk["alg"] not in fitting:
            raise Unfit("wrong_alg")
        return str(jwk["alg"])
    if len(fitting) > 1:
        raise Unfit("alg_missing")
    return fitting[0]


def _public(jwk: dict[str, Any], kty: str, crv: str) -> dict[str, str]:
    """The public members alone, each of the right length: nothing else of *jwk* reaches the library."""
    public = {name: _number(jwk.get(name), size) for name, size in PUBLIC[kty].items()}
    if kty == "RSA":
        _check_rsa(int.from_bytes(base64url(public["n"])), int.from_bytes(base64url(public["e"])))
    return {"kty": kty, **({"crv": crv} if crv else {}), **public}


def _number(text: Any, size: int) -> str:
    try:
        data = base64url(text) if isinstance(text, str) else b""
    except NotStrict:
        data = b""
    if not data or (size and len(data) != size):
        raise Unfit("malformed_member")
    return str(text)


def _check_rsa(modulus: int, exponent: int) -> None:
    """NIST SP 800-131A asks for 2048 bits; the upper bounds keep the cost of a check in hand."""
    if not 2048 <= modulus.bit_length() <= 8192 or modulus % 2 == 0:
        raise Unfit("rsa_modulus")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 32:
        raise Unfit("rsa_exponent")
    if all(modulus % prime in residues for prime, residues in _ROCA):
        raise Unfit("rsa_modulus_of_a_broken_generator")


def _kid(jwk: dict[str, Any], thumbprint: str) -> str:
    kid = jwk.get("kid", thumbprint)
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
        raise Unfit("bad_kid")
    return kid
