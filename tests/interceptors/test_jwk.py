"""Key sets: which keys are taken, for which algorithm, and which are dropped without spoiling the rest."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import OKPKey

from guardhouse.interceptors.tokens.jwk import parse
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import ALGORITHMS, EC, ED, OTHER_EC, P384, RSA, jwk, key_set, signer, usual_set, wrapped

EC_JWK, RSA_JWK = jwk(EC, "k"), jwk(RSA, "k")
GOOD = jwk(OTHER_EC, "good")


def number(value: int) -> str:
    """An integer as a JWK writes it."""
    return unpadded(value.to_bytes((value.bit_length() + 7) // 8))


SMALL = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n


def without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """*entry* less one member."""
    return {key: value for key, value in entry.items() if key != name}


def roca() -> int:
    """A modulus with the residues by which the broken Infineon generator is known (CVE-2017-15361)."""
    primes = [n for n in range(2, 168) if all(n % m for m in range(2, math.isqrt(n) + 1))]
    product = math.prod(primes)
    modulus = pow(65537, 12345, product) + product * (1 << (2047 - product.bit_length() + 1))
    return modulus if modulus % 2 else modulus + product


UNFIT: dict[str, tuple[Any, str]] = {
    "a string": ("key", "not_an_object"),
    "null": (None, "not_an_object"),
    "nothing": ({}, "wrong_kind_of_key"),
    "symmetric": ({"kty": "oct", "k": unpadded(b"x" * 32), "kid": "k", "alg": "HS256"}, "symmetric"),
    "symmetric and empty": ({"kty": "oct", "k": ""}, "symmetric"),
    "symmetric in disguise": ({**EC_JWK, "k": unpadded(b"x" * 32)}, "symmetric"),
    "private EC": (jwk(EC, "k", private=True), "private_key_published"),
    "private RSA": (jwk(RSA, "k", private=True), "private_key_published"),
    "private OKP": (jwk(ED, "k", private=True), "private_key_published"),
    "one private member": ({**RSA_JWK, "q": "AQAB"}, "private_key_published"),
    "for encryption": ({**EC_JWK, "use": "enc"}, "wrong_use"),
    "use null": ({**EC_JWK, "use": None}, "wrong_use"),
    "to sign with": ({**EC_JWK, "key_ops": ["sign"]}, "wrong_key_ops"),
    "to wrap with": ({**RSA_JWK, "key_ops": ["wrapKey"]}, "wrong_key_ops"),
    "no operation": ({**EC_JWK, "key_ops": []}, "wrong_key_ops"),
    "operation as text": ({**EC_JWK, "key_ops": "verify"}, "wrong_key_ops"),
    "another alg": ({**RSA_JWK, "alg": "RS512"}, "wrong_alg"),
    "an alg of HMAC": ({**RSA_JWK, "alg": "HS256"}, "wrong_alg"),
    "an alg of another kind": ({**EC_JWK, "alg": "RS256"}, "wrong_alg"),
    "alg null": ({**EC_JWK, "alg": None}, "wrong_alg"),
    "alg list": ({**EC_JWK, "alg": ["ES256"]}, "wrong_alg"),
    "P-384": (jwk(P384, "k"), "wrong_kind_of_key"),
    "P-384 said to be ES256": (jwk(P384, "k", alg="ES256"), "wrong_kind_of_key"),
    "P-384 said to be P-256": (jwk(P384, "k", crv="P-256"), "malformed_member"),
    "X25519": ({**OKPKey.generate_key("X25519").as_dict(private=False), "kid": "k"}, "wrong_kind_of_key"),
    "curve as a list": ({**EC_JWK, "crv": ["P-256"]}, "wrong_kind_of_key"),
    "kty in lower case": ({**EC_JWK, "kty": "ec"}, "wrong_kind_of_key"),
    "kty as a list": ({**EC_JWK, "kty": ["EC"]}, "wrong_kind_of_key"),
    "off the curve": ({**EC_JWK, "x": unpadded(b"\1" * 32)}, "not_a_valid_key"),
    "point at zero": ({**EC_JWK, "x": unpadded(bytes(32)), "y": unpadded(bytes(32))}, "not_a_valid_key"),
    "short coordinate": ({**EC_JWK, "x": unpadded(b"\1" * 31)}, "malformed_member"),
    "padded coordinate": ({**EC_JWK, "x": EC_JWK["x"] + "="}, "malformed_member"),
    "coordinate as a number": ({**EC_JWK, "x": 1}, "malformed_member"),
    "no coordinate": (without(EC_JWK, "y"), "malformed_member"),
    "RSA of 1024 bits": ({**RSA_JWK, "n": number(SMALL)}, "rsa_modulus"),
    "RSA of 16384 bits": ({**RSA_JWK, "n": number((1 << 16384) - 1)}, "rsa_modulus"),
    "even modulus": ({**RSA_JWK, "n": number(1 << 2047)}, "rsa_modulus"),
    "no modulus": ({**RSA_JWK, "n": ""}, "malformed_member"),
    "exponent 1": ({**RSA_JWK, "e": number(1)}, "rsa_exponent"),
    "exponent 2": ({**RSA_JWK, "e": number(2)}, "rsa_exponent"),
    "even exponent": ({**RSA_JWK, "e": number(65536)}, "rsa_exponent"),
    "exponent 0": ({**RSA_JWK, "e": unpadded(b"\0")}, "rsa_exponent"),
    "enormous exponent": ({**RSA_JWK, "e": number((1 << 2000) + 1)}, "rsa_exponent"),
    "a broken generator's": ({**RSA_JWK, "n": number(roca())}, "rsa_modulus_of_a_broken_generator"),
    "kid empty": ({**EC_JWK, "kid": ""}, "bad_kid"),
    "kid number": ({**EC_JWK, "kid": 1}, "bad_kid"),
    "kid null": ({**EC_JWK, "kid": None}, "bad_kid"),
    "kid long": ({**EC_JWK, "kid": "k" * 257}, "bad_kid"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_one_unfit_key_is_dropped_alone(case: str) -> None:
    """An unfit key is dropped with the reason noted, and the good one beside it works."""
    entry, note = UNFIT[case]
    for entries, place in (([entry, GOOD], 0), ([GOOD, entry], 1)):
        found = parse(key_set(*entries), ALGORITHMS)
        assert list(found.keys) == ["good"]
        assert found.notes == (f"key {place}: {note}",)
        assert found.keys["good"].verifies(b"data", signer(OTHER_EC, "ES256")(b"data"))


def test_keys_of_every_kind_are_bound_to_their_algorithm() -> None:
    """A key without `alg` gets the one algorithm of the issuer's that fits its kind."""
    found = parse(usual_set(), ALGORITHMS)
    assert {kid: key.algorithm for kid, key in found.keys.items()} == {
        "ec": "ES256",
        "rsa": "RS256",
        "ed": "EdDSA",
    }
    assert found.notes == ()


def test_an_rsa_key_without_alg_is_ambiguous_where_two_fit() -> None:
    """Between RS256 and PS256 nothing is guessed: `alg` decides, or the key is dropped."""
    both = ("RS256", "PS256")
    assert parse(key_set(jwk(RSA, "k")), both).notes == ("key 0: alg_missing",)
    assert parse(key_set(jwk(RSA, "k", alg="PS256")), both).keys["k"].algorithm == "PS256"
    assert parse(key_set(jwk(RSA, "k")), ("PS256",)).keys["k"].algorithm == "PS256"


def test_keys_that_share_a_name_are_both_dropped() -> None:
    """Which of two keys a name means is not guessed."""
    found = parse(key_set(jwk(EC, "k"), jwk(RSA, "k"), GOOD), ALGORITHMS)
    assert (list(found.keys), found.notes) == (["good"], ("duplicate_kid",))


def test_what_else_a_key_says_is_ignored() -> None:
    """Certificates and members of others' making change nothing; the right use and operation pass."""
    entry = jwk(EC, "k", use="sig", key_ops=["verify"], alg="ES256", x5c=["MIIB"], x5t="x", ext=True)
    assert parse(key_set(entry), ALGORITHMS).keys["k"] == parse(key_set(EC_JWK), ALGORITHMS).keys["k"]


def test_a_key_without_a_name_goes_by_its_thumbprint() -> None:
    """RFC 7638 gives a key its name where the set does not."""
    found = parse(key_set(jwk(EC), jwk(OTHER_EC)), ALGORITHMS)
    assert set(found.keys) == {wrapped(EC).thumbprint(), wrapped(OTHER_EC).thumbprint()}


def test_the_only_key_is_found_without_a_name() -> None:
    """`find(None)` finds the only key and never chooses."""
    one, two = parse(key_set(GOOD), ALGORITHMS), parse(usual_set(), ALGORITHMS)
    assert one.find(None) is one.keys["good"]
    assert two.find(None) is None
    assert two.find("EC") is None


def test_a_set_holds_a_key_only_unchanged() -> None:
    """The same key read again counts as held; another key or algorithm under its name does not."""
    key = parse(key_set(jwk(RSA, "k")), ("RS256",)).keys["k"]
    assert parse(key_set(jwk(RSA, "k"), GOOD), ("RS256",)).holds(key)
    assert not parse(key_set(jwk(RSA, "k")), ("PS256",)).holds(key)
    assert not parse(key_set(jwk(EC, "k")), ALGORITHMS).holds(key)
    assert not parse(key_set(GOOD), ALGORITHMS).holds(key)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [NaN]}',
        b'{"keys": [' + b"[" * 100_000,
        b'{"keys": ["' + b'\\"' * 200_000,
        b"\xff\xfe",
        key_set(*[{}] * 257),
        json.dumps({"keys": [], "more": "x" * 2**20}).encode(),
    ],
)
def test_what_is_no_key_set(data: bytes) -> None:
    """Whatever is not a small JSON object with a list of keys is refused as a whole, in words of ours."""
    with pytest.raises(ValueError, match=r"^the key set (is|has) ") as caught:
        parse(data, ALGORITHMS)
    assert len(str(caught.value)) < 100


def test_an_empty_set_is_a_set_without_keys() -> None:
    """What to do about it is for the source of the keys to decide."""
    assert len(parse(key_set(), ALGORITHMS).keys) == 0


@pytest.mark.parametrize("signature", [b"", b"x", bytes(64), b"\xff" * 64, bytes(256), b"\xff" * 5000])
def test_rubbish_is_no_signature(signature: bytes) -> None:
    """Signatures of any length and content are simply wrong, with every kind of key."""
    for key in parse(usual_set(), ALGORITHMS).keys.values():
        assert key.verifies(b"data", signature) is False
