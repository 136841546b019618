"""The token guard: when what it let in ends, cached or in the middle of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode

from guardhouse.interceptors import REASONS, Principal, Refusal
from guardhouse.interceptors.tokens import Tokens
from guardhouse.interceptors.tokens.jwk import KeySet, parse
from guardhouse.interceptors.tokens.key_records import key_id, new_key
from guardhouse.interceptors.tokens.keys import KeyStore, LiveKeys

from .issuers import (
    ALGORITHMS,
    EC,
    NOW,
    OTHER_EC,
    PEM,
    RSA,
    admitted,
    call,
    claims,
    issuer,
    jwk,
    key_set,
    token,
    turned_away,
    usual_set,
)

GOOD = token()


@pytest.fixture
def guard() -> Tokens:
    return Tokens([issuer()])


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.db")


@pytest.fixture
def live(store: KeyStore) -> Iterator[LiveKeys]:
    found = LiveKeys(store)
    yield found
    found.stop()


def test_a_cached_token_stops_when_it_would_have_without(guard: Tokens) -> None:
    """Warm or cold, with or without `iat`, the same moment ends it (CVE-2026-107719)."""
    for text in (GOOD, token(payload=claims(iat=...))):
        admitted(guard, f"Bearer {text}")
        assert admitted(guard, f"Bearer {text}", wall=NOW + 629.9).principal.name == "alice"
        for each in (guard, Tokens([issuer()])):
            assert turned_away(each, f"Bearer {text}", wall=NOW + 630) == ("TOKEN_EXPIRED", "jwt_expired")


def test_an_open_stream_ends_with_its_token(guard: Tokens) -> None:
    """Every message, in either direction, is judged anew."""
    running = admitted(guard, f"Bearer {GOOD}")
    running.wall = NOW + 629.9
    guard.again(running, incoming=True)
    guard.again(running, incoming=False)
    running.wall = NOW + 630
    for incoming in (True, False):
        with pytest.raises(Refusal) as caught:
            guard.again(running, incoming)
        assert caught.value.reason == "TOKEN_EXPIRED"


def test_an_open_stream_ends_with_its_certificate(guard: Tokens) -> None:
    """A token does not outlive the certificate it came with, and the answer says which of them ended."""
    holder = Principal("spiffe://acme/a", certificate="spiffe://acme/a", proofs=("mtls",), expires=NOW + 100)
    running = admitted(guard, f"Bearer {GOOD}", pem=PEM, principal=holder)
    running.wall = NOW + 100
    with pytest.raises(Refusal) as caught:
        guard.again(running, incoming=True)
    assert caught.value.reason == "CERTIFICATE_EXPIRED"
    assert (
        turned_away(guard, f"Bearer {GOOD}", pem=PEM, principal=holder, wall=NOW + 100)[0]
        == "CERTIFICATE_EXPIRED"
    )


def test_a_revoked_key_ends_at_once(store: KeyStore, live: LiveKeys) -> None:
    """Cached or in the middle of a stream, a revoked key stops as soon as the view knows."""
    key = store.create("ops", now=NOW)
    live.refresh()
    guard = Tokens([], live)
    running = admitted(guard, f"Bearer {key}")
    guard.again(running, incoming=True)
    store.revoke("ops", NOW)
    live.refresh()
    for incoming in (True, False):
        with pytest.raises(Refusal) as caught:
            guard.again(running, incoming)
        assert (caught.value.reason, caught.value.note) == ("TOKEN_INVALID", "key_revoked")
    assert turned_away(guard, f"Bearer {key}") == ("TOKEN_INVALID", "key_revoked")


def test_keys_that_do_not_count_get_one_answer(store: KeyStore, live: LiveKeys) -> None:
    """Unknown id, wrong secret, revoked, expired: same code, reason and words; the ledger knows which."""
    good, revoked, expired = (store.create("ops", expires=NOW + 5, now=NOW) for _ in range(3))
    store.revoke(key_id(revoked), NOW)
    live.refresh()
    guard = Tokens([], live)
    admitted(guard, f"Bearer {expired}")
    cases = {
        "key_unknown": (new_key(), NOW),
        "key_wrong_secret": (good[:16] + new_key()[16:], NOW),
        "key_revoked": (revoked, NOW),
        "key_expired": (expired, NOW + 5),
    }
    said = set()
    for note, (key, wall) in cases.items():
        with pytest.raises(Refusal) as caught:
            guard.admit(call(f"Bearer {key}", wall=wall))
        assert caught.value.note == note
        said.add((caught.value.code, caught.value.reason, caught.value.words, caught.value.retry_after))
    assert said == {(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", REASONS["TOKEN_INVALID"].words, None)}


@dataclass
class Rotating:
    """A source whose set the test changes."""

    keys: KeySet | None

    def ask(self) -> None:
        """Nothing to read."""


def test_a_key_the_issuer_takes_back_ends_its_tokens() -> None:
    """A cached token stands as long as its key is in the set, and no longer; other keys do not matter."""
    source = Rotating(parse(usual_set(), ALGORITHMS))
    guard = Tokens([issuer(source=source)])
    running = admitted(guard, f"Bearer {GOOD}")
    source.keys = parse(key_set(jwk(EC, "ec"), jwk(OTHER_EC, "new")), ALGORITHMS)
    guard.again(running, incoming=True)
    assert admitted(guard, f"Bearer {GOOD}").principal is running.principal
    for keys in (key_set(jwk(RSA, "rsa")), key_set(jwk(OTHER_EC, "ec"))):
        source.keys = parse(keys, ALGORITHMS)
        assert turned_away(guard, f"Bearer {GOOD}") == ("TOKEN_INVALID", "jwt_key_withdrawn")
    source.keys = None
    with pytest.raises(Refusal) as caught:
        guard.again(running, incoming=True)
    assert (caught.value.reason, caught.value.retry_after) == ("KEYS_UNAVAILABLE", 1.0)
