"""JWT: whatever is done to a good token, the result is refused and nothing breaks."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.interceptors import Refusal
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import (
    ED,
    RSA,
    claims,
    judge,
    part,
    refused,
    token,
)

HEAD, BODY, SIGNATURE = token().split(".")
TOKENS = [
    token(),
    token({"alg": "RS256", "kid": "rsa"}, key=RSA, algorithm="RS256"),
    token({"alg": "EdDSA", "kid": "ed"}, key=ED, algorithm="EdDSA"),
]
ANY = st.sampled_from(TOKENS)


def never_accepted(text: str) -> None:
    """Every text but a token as it was issued is refused, and never with anything but a refusal."""
    if text in TOKENS:
        return
    with pytest.raises(Refusal):
        judge(text)


@given(ANY, st.data(), st.integers(1, 127))
def test_no_byte_can_be_flipped(text: str, data: st.DataObject, bits: int) -> None:
    """A token with one character changed is refused."""
    place = data.draw(st.integers(0, len(text) - 1))
    never_accepted(text[:place] + chr(ord(text[place]) ^ bits) + text[place + 1 :])


@given(ANY, st.data())
def test_no_bit_of_what_is_encoded_can_be_flipped(text: str, data: st.DataObject) -> None:
    """A token with one bit changed below the base64url is refused."""
    parts = [base64.urlsafe_b64decode(each + "==") for each in text.split(".")]
    which = data.draw(st.integers(0, 2))
    bit = data.draw(st.integers(0, len(parts[which]) * 8 - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    never_accepted(".".join(unpadded(each) for each in parts))


@given(ANY, st.data())
def test_no_token_can_be_cut_or_lengthened(text: str, data: st.DataObject) -> None:
    """A token without some characters, or with some more, is refused."""
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    never_accepted(text[:begin] + text[end:])
    never_accepted(text[:begin] + data.draw(st.text("ABab01-_=.+/ \n\x00", max_size=4)) + text[begin:])


@given(ANY, ANY, ANY)
def test_no_parts_can_be_swapped(first: str, second: str, third: str) -> None:
    """Parts of different good tokens, in any order, make no token."""
    a, b, c = (each.split(".") for each in (first, second, third))
    never_accepted(f"{a[0]}.{b[1]}.{c[2]}")
    never_accepted(f"{a[1]}.{b[0]}.{c[2]}")
    never_accepted(f"{a[2]}.{b[1]}.{c[0]}")


@given(st.text(max_size=300))
def test_no_text_is_anything_but_refused(text: str) -> None:
    """Whatever text arrives, the answer is a refusal, not an error."""
    never_accepted(text)
    never_accepted(f"{HEAD}.{part(text.encode('utf-8', 'replace'))}.{SIGNATURE}")
    never_accepted(f"{part(text.encode('utf-8', 'replace'))}.{BODY}.{SIGNATURE}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "cnf"]), JSON)
def test_no_signed_claim_breaks_us(claim: str, value: Any) -> None:
    """Whatever JSON an issuer puts into a claim, the token is verified or refused; nothing else happens."""
    text = token(payload=claims(**{claim: value}))
    try:
        found = judge(text)
    except Refusal:
        assert refused(text)[0] in ("TOKEN_INVALID", "TOKEN_EXPIRED")
    else:
        assert claim != "cnf"
        assert math.isfinite(found.expires)
