"""JWT: claims of every wrong type and value, times, and tokens bound to a certificate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.tokens.issuers import Fixed
from guardhouse.interceptors.tokens.jwk import KeySet, parse
from guardhouse.interceptors.tokens.strict import unpadded

from .issuers import (
    ALGORITHMS,
    ISSUER,
    NOW,
    OTHER_EC,
    claims,
    issuer,
    judge,
    refused,
    token,
    usual_set,
)

THUMBPRINT = bytes(range(32))
GOOD = token()


@pytest.mark.parametrize(
    "name",
    [
        ...,
        None,
        1,
        True,
        [ISSUER],
        {ISSUER: 1},
        "",
        ISSUER + "/",
        ISSUER[:-1],
        ISSUER + "x",
        "x" + ISSUER,
        ISSUER.upper(),
        ISSUER + ".",
        ISSUER + "\x00",
        " " + ISSUER,
        "https",
        f"{ISSUER},{ISSUER}",
    ],
)
def test_wrong_issuers(name: Any) -> None:
    """`iss` is compared whole (CVE-2024-53861): no part, list, other type, case or slash more passes."""
    assert refused(token(payload=claims(iss=name))) == ("TOKEN_INVALID", "jwt_issuer")


@pytest.mark.parametrize(
    "audience",
    [
        ...,
        None,
        1,
        True,
        [],
        {},
        {"models": 1},
        "",
        "model",
        "models/",
        "modelsx",
        "xmodels",
        "Models",
        "models ",
        ["model"],
        ["models2", "x"],
        [["models"]],
        ["models", 1],
        [None, "models"],
        "models,other",
    ],
)
def test_wrong_audiences(audience: Any) -> None:
    """`aud` must be or contain the whole audience, as text; a list with anything else in it is refused."""
    assert refused(token(payload=claims(aud=audience))) == ("TOKEN_INVALID", "jwt_audience")


@pytest.mark.parametrize("audience", ["models", ["models"], ["other", "models"]])
def test_right_audiences(audience: Any) -> None:
    """One of several audiences is enough."""
    assert judge(token(payload=claims(aud=audience))).subject == "alice"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "moment", [None, "1900000000", True, [], {}, -1, -1e300, 10**30, 1e300, int("9" * 400)]
)
def test_moments_that_are_none(claim: str, moment: Any) -> None:
    """Times are plain numbers of seconds between 1970 and the year 9999, and `exp` has to be there."""
    assert refused(token(payload=claims(**{claim: moment}))) == ("TOKEN_INVALID", "jwt_claims")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_numbers_that_are_none(number: str) -> None:
    """What Python's JSON would read as NaN or infinity is not JSON here, wherever it stands."""
    for claim in ("exp", "other"):
        text = json.dumps(claims(exp=...) if claim == "exp" else claims())
        payload = f'{text[:-1]},"{claim}":{number}}}'
        assert refused(token(payload=payload)) == ("TOKEN_INVALID", "jwt_malformed")


def test_exp_is_required() -> None:
    """A token that never expires is none."""
    assert refused(token(payload=claims(exp=...))) == ("TOKEN_INVALID", "jwt_claims")


@pytest.mark.parametrize(
    "subject",
    [
        ...,
        None,
        1,
        True,
        [],
        ["alice"],
        {},
        "",
        " ",
        " alice",
        "alice ",
        "a\nb",
        "a\x00",
        "a\x7f",
        "a\u2028b",
        "a\u202eb",
        "x" * 513,
        "api_key:ops",
    ],
)
def test_subjects_that_are_none(subject: Any) -> None:
    """A subject is printable text of a sane length that cannot be mistaken for an API key's name."""
    assert refused(token(payload=claims(sub=subject))) == ("TOKEN_INVALID", "jwt_claims")


def test_a_longest_subject_passes() -> None:
    """512 characters, of any script, are a subject."""
    subject = "ж" * 512
    assert judge(token(payload=claims(sub=subject))).subject == subject


@pytest.mark.parametrize(
    ("now", "answer"),
    [
        (NOW + 629.9, None),
        (NOW + 630, ("TOKEN_EXPIRED", "jwt_expired")),
        (NOW + 10**6, ("TOKEN_EXPIRED", "jwt_expired")),
        (NOW - 30, None),
        (NOW - 30.1, ("TOKEN_INVALID", "jwt_not_yet_valid")),
    ],
)
@pytest.mark.parametrize("begin", ["iat", "nbf"])
def test_the_leeway_is_applied_once(now: float, answer: Any, begin: str) -> None:
    """30 s before it begins and 30 s after it ends a token passes, and no longer."""
    text = token(payload=claims(**{"iat": ..., begin: NOW}))
    assert judge(text, now=now).subject == "alice" if answer is None else refused(text, now=now) == answer


def test_expired_is_said_only_of_a_token_that_is_otherwise_right() -> None:
    """A forger does not learn that only the time is wrong."""
    late = NOW + 10_000
    assert refused(token(key=OTHER_EC), now=late) == ("TOKEN_INVALID", "jwt_signature")
    assert refused(token(payload=claims(aud="x")), now=late) == ("TOKEN_INVALID", "jwt_audience")
    bound = token(payload=claims(cnf={"x5t#S256": unpadded(THUMBPRINT)}))
    assert refused(bound, now=late) == ("TOKEN_INVALID", "jwt_binding")


def test_keys_that_are_not_there_are_told_apart() -> None:
    """An issuer whose keys are unknown at the moment is our trouble: UNAVAILABLE, and try again."""
    issuers = {ISSUER: issuer(source=Fixed(None))}
    assert refused(GOOD, issuers) == ("KEYS_UNAVAILABLE", "jwt_keys_unavailable")
    with pytest.raises(Refusal) as caught:
        judge(GOOD, issuers)
    assert caught.value.retry_after == 1.0


def test_an_unknown_kid_asks_for_a_refresh_and_nothing_else_does() -> None:
    """Only a well-formed name of an unknown key is worth a look at the issuer."""

    class Asked:
        keys: KeySet | None = parse(usual_set(), ALGORITHMS)
        times = 0

        def ask(self) -> None:
            self.times += 1

    source = Asked()
    issuers = {ISSUER: issuer(source=source)}
    for text in (
        token(key=OTHER_EC),
        token({"alg": "ES256", "kid": 0}),
        token({"alg": "PS256", "kid": "new"}),
    ):
        refused(text, issuers)
    assert source.times == 0
    refused(token({"alg": "ES256", "kid": "new"}), issuers)
    assert source.times == 1


def test_a_bound_token_needs_its_certificate() -> None:
    """`cnf.x5t#S256` is honoured: with the right certificate it passes, with another or none it does not."""
    text = token(payload=claims(cnf={"x5t#S256": unpadded(THUMBPRINT)}))
    assert judge(text, certificate_thumbprint=THUMBPRINT).subject == "alice"
    for thumbprint in (None, b"", bytes(32), THUMBPRINT[:-1]):
        assert refused(text, certificate_thumbprint=thumbprint) == ("TOKEN_INVALID", "jwt_binding")


@pytest.mark.parametrize(
    "confirmation",
    [
        None,
        {},
        [],
        "x",
        1,
        True,
        {"jkt": "abc"},
        {"jwk": {}},
        {"kid": "ec"},
        {"x5t#S256": None},
        {"x5t#S256": 1},
        {"x5t#S256": ""},
        {"x5t": unpadded(THUMBPRINT)},
        {"X5T#S256": unpadded(THUMBPRINT)},
        {"x5t#S256": THUMBPRINT.hex()},
        {"x5t#S256": unpadded(THUMBPRINT), "jkt": "abc"},
    ],
)
def test_other_confirmations_are_refused(confirmation: Any) -> None:
    """A binding we cannot check is not as good as none: the token is refused."""
    text = token(payload=claims(cnf=confirmation))
    assert refused(text, certificate_thumbprint=THUMBPRINT) == ("TOKEN_INVALID", "jwt_binding")


def test_a_padded_thumbprint_is_noncanonical() -> None:
    """The thumbprint too has one spelling."""
    text = token(payload=claims(cnf={"x5t#S256": unpadded(THUMBPRINT) + "="}))
    assert refused(text, certificate_thumbprint=THUMBPRINT) == ("TOKEN_INVALID", "jwt_noncanonical")
