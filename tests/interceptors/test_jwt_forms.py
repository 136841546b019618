"""JWT: every other form of a token, and of its header, with the note it is refused with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from guardhouse.interceptors.tokens.jwk import parse
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import (
    ALGORITHMS,
    OTHER_EC,
    certificate,
    claims,
    jwk,
    part,
    refused,
    token,
    witness,
)

GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
FORMS = {
    "empty signature": (f"{HEAD}.{BODY}.", "jwt_signature"),
    "no signature": (f"{HEAD}.{BODY}", "jwt_malformed"),
    "nothing": ("", "jwt_malformed"),
    "two dots": ("..", "jwt_malformed"),
    "four parts": (f"{GOOD}.", "jwt_malformed"),
    "flood of dots": ("." * 8192, "jwt_malformed"),
    "five parts": (f"{part({'alg': 'dir', 'enc': 'A256GCM'})}....", "jwt_encrypted"),
    "jwe of three parts": (f"{part({'alg': 'ES256', 'enc': 'A256GCM'})}.{BODY}.{SIGNATURE}", "jwt_encrypted"),
    "flattened json": (
        json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}),
        "jwt_malformed",
    ),
    "general json": (json.dumps({"payload": BODY, "signatures": []}), "jwt_malformed"),
    "json with dots": (json.dumps({"payload": "a.b.c", "signatures": []}), "jwt_noncanonical"),
    "9 KiB": (token(payload=claims(more="x" * 9216)), "jwt_too_long"),
    "8193 bytes": (GOOD + "A" * (8193 - len(GOOD)), "jwt_too_long"),
    "long header": (token({"alg": "ES256", "kid": "ec", "typ": "x" * 1024}), "jwt_too_long"),
    "padded": (GOOD + "=", "jwt_noncanonical"),
    "padded twice": (GOOD + "==", "jwt_noncanonical"),
    "padded header": (f"{HEAD}=.{BODY}.{SIGNATURE}", "jwt_noncanonical"),
    "space before": (" " + GOOD, "jwt_noncanonical"),
    "newline after": (GOOD + "\n", "jwt_noncanonical"),
    "tab within": (GOOD[:30] + "\t" + GOOD[30:], "jwt_noncanonical"),
    "NUL within": (GOOD[:-9] + "\x00" + GOOD[-9:], "jwt_noncanonical"),
    "plus": (f"{HEAD}.{BODY}.+{SIGNATURE[1:]}", "jwt_noncanonical"),
    "slash": (f"{HEAD}.{BODY}./{SIGNATURE[1:]}", "jwt_noncanonical"),
    "quote": (f"{HEAD}.{BODY}.'{SIGNATURE}", "jwt_noncanonical"),
    "one letter too many": (f"{HEAD}.{BODY}.{SIGNATURE}AAA", "jwt_noncanonical"),
    "not ascii": (GOOD[:-1] + "\u0410", "jwt_malformed"),
    "half a surrogate": (GOOD[:-1] + "\ud800", "jwt_malformed"),
    "header is a list": (token("[]"), "jwt_malformed"),
    "header is a string": (token('"ES256"'), "jwt_malformed"),
    "header is nothing": (f".{BODY}.{SIGNATURE}", "jwt_malformed"),
    "header in UTF-16": (token('{"alg":"ES256"}'.encode("utf-16")), "jwt_malformed"),
    "header with BOM": (token(b'\xef\xbb\xbf{"alg":"ES256"}'), "jwt_malformed"),
    "payload is a list": (token(payload="[]"), "jwt_malformed"),
    "payload is a number": (token(payload="1"), "jwt_malformed"),
    "payload is null": (token(payload="null"), "jwt_malformed"),
    "payload is nothing": (token(payload=""), "jwt_malformed"),
    "payload is cut": (token(payload='{"iss":'), "jwt_malformed"),
    "payload with a comment": (token(payload=json.dumps(claims()) + "//"), "jwt_malformed"),
    "payload not UTF-8": (token(payload=b'{"iss":"\xff"}'), "jwt_malformed"),
    "half a surrogate in a claim": (token(payload=claims(name="\ud800")), "jwt_malformed"),
    "number too long": (
        token(payload=json.dumps(claims())[:-1] + ',"n":' + "9" * 5000 + "}"),
        "jwt_malformed",
    ),
    "payload nested": (token(payload='{"a":' + "[" * 5000 + "]" * 200 + "}"), "jwt_nested_too_deep"),
    "payload nested in objects": (token(payload='{"a":' * 1000 + "1" + "}" * 1000), "jwt_nested_too_deep"),
    "header nested": (token('{"alg":' + "[" * 600), "jwt_nested_too_deep"),
    "duplicate in the payload": (
        token(payload=json.dumps(claims())[:-1] + ',"sub":"eve"}'),
        "jwt_duplicate_member",
    ),
    "duplicate in the header": (token('{"alg":"none","alg":"ES256","kid":"ec"}'), "jwt_duplicate_member"),
    "duplicate by escape": (token('{"alg":"ES256","kid":"ec","k\\u0069d":"ed"}'), "jwt_duplicate_member"),
    "duplicate further in": (
        token(payload=json.dumps(claims())[:-1] + ',"cnf":{"a":1,"a":2}}'),
        "jwt_duplicate_member",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    """Anything but one compact JWS in its one spelling, of plain JSON objects, is refused for what it is."""
    text, note = FORMS[form]
    assert refused(text) == ("TOKEN_INVALID", note)


def test_unused_bits_of_the_last_letter_must_be_zero() -> None:
    """Of the letters that stand for the same last byte one is accepted: a token has one text."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same = [
        GOOD[:-1] + letter
        for letter in alphabet
        if base64.urlsafe_b64decode(SIGNATURE[:-1] + letter + "==")
        == base64.urlsafe_b64decode(SIGNATURE + "==")
    ]
    assert len(same) == 16
    for text in set(same) - {GOOD}:
        assert refused(text) == ("TOKEN_INVALID", "jwt_noncanonical")


def test_brackets_100_000_deep_are_an_answer_not_a_crash() -> None:
    """Even past the size limit, nesting never raises RecursionError: it is refused."""
    deep = "[" * 100_000
    assert refused(token(payload='{"a":' + deep))[0] == "TOKEN_INVALID"
    with pytest.raises(ValueError, match="nested_too_deep"):
        parse(('{"keys":' + deep).encode(), ALGORITHMS)


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "crit of the unknown": ({"crit": ["x"], "x": 1}, "jwt_crit"),
    "crit of b64": ({"crit": ["b64"], "b64": False}, "jwt_crit"),
    "crit of the absent": ({"crit": ["exp"]}, "jwt_crit"),
    "crit empty": ({"crit": []}, "jwt_crit"),
    "crit null": ({"crit": None}, "jwt_crit"),
    "b64 alone": ({"b64": False}, "jwt_crit"),
    "b64 true": ({"b64": True}, "jwt_crit"),
    "zip": ({"zip": "DEF"}, "jwt_header"),
    "cty": ({"cty": "JWT"}, "jwt_header"),
    "unknown": ({"url": "https://attacker.example"}, "jwt_header"),
    "typ of a DPoP proof": ({"typ": "dpop+jwt"}, "jwt_type"),
    "typ of a logout token": ({"typ": "logout+jwt"}, "jwt_type"),
    "typ null": ({"typ": None}, "jwt_type"),
    "typ list": ({"typ": ["JWT"]}, "jwt_type"),
    "kid traversal": ({"kid": "../../../../dev/null"}, "jwt_unknown_kid"),
    "kid SQL": ({"kid": "' UNION SELECT 'secret'--"}, "jwt_unknown_kid"),
    "kid NUL": ({"kid": "ec\x00"}, "jwt_unknown_kid"),
    "kid in capitals": ({"kid": "EC"}, "jwt_unknown_kid"),
    "kid empty": ({"kid": ""}, "jwt_kid"),
    "kid number": ({"kid": 0}, "jwt_kid"),
    "kid true": ({"kid": True}, "jwt_kid"),
    "kid list": ({"kid": ["ec"]}, "jwt_kid"),
    "kid object": ({"kid": {"ec": 1}}, "jwt_kid"),
    "kid null": ({"kid": None}, "jwt_kid"),
    "kid long": ({"kid": "k" * 257}, "jwt_kid"),
    "kid of 1 MB": ({"kid": "k" * 1_000_000}, "jwt_too_long"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_header_members(case: str) -> None:
    """Only alg, kid and typ may stand in a header, each of its own type; `crit` is never understood."""
    more, note = HEADERS[case]
    assert refused(token({"alg": "ES256", "kid": "ec", **more})) == ("TOKEN_INVALID", note)


def test_headers_that_bring_or_point_to_keys_go_nowhere() -> None:
    """jwk, jku, x5u, x5c and the like, right for the attacker, are refused; nothing connects anywhere."""
    with witness() as listening:
        der = certificate(OTHER_EC).public_bytes(Encoding.DER)
        tricks: list[dict[str, Any]] = [
            {"jwk": jwk(OTHER_EC, "ec")},
            {"jku": listening.url},
            {"x5u": listening.url},
            {"x5c": [base64.b64encode(der).decode()]},
            {"x5t": unpadded(der[:20])},
            {"x5t#S256": unpadded(der[:32])},
            {"jku": listening.url, "kid": listening.url},
        ]
        for trick in tricks:
            for header in ({"alg": "ES256", "kid": "ec", **trick}, {"alg": "ES256", **trick}):
                text = token(header, claims(jku=listening.url), OTHER_EC)
                assert refused(text) == ("TOKEN_INVALID", "jwt_embedded_key")
        assert refused(token({"alg": "ES256", "kid": listening.url})) == ("TOKEN_INVALID", "jwt_unknown_kid")
        assert refused(token(payload=claims(iss=listening.url))) == ("TOKEN_INVALID", "jwt_issuer")
        assert listening.asked == 0
