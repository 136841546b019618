"""API keys in the server: found by the whole right text, gone within a moment of being revoked."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Refusal
from guardhouse.interceptors.tokens.key_records import digest, new_key
from guardhouse.interceptors.tokens.keys import KeyStore, KeyStoreError, LiveKeys

from .issuers import NOW, wait_until


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.db")


@pytest.fixture
def live(store: KeyStore) -> Iterator[LiveKeys]:
    found = LiveKeys(store)
    yield found
    found.stop()


def test_only_the_whole_right_key_is_found(store: KeyStore, live: LiveKeys) -> None:
    """The right text finds its record; unknown, wrong, revoked, expired ones do not, each with its note."""
    key, late = store.create("ops", now=NOW), store.create("ops", expires=NOW + 10, now=NOW)
    assert live.refresh()
    assert live.find(key, NOW) == store.list()[0]
    assert live.judge(late, NOW + 9.9)[1] == ""
    assert live.judge(late, NOW + 10)[1] == "key_expired"
    assert live.judge(new_key(), NOW)[1] == "key_unknown"
    assert live.judge(key[:16] + new_key()[16:], NOW)[1] == "key_wrong_secret"
    for wrong in ("", "gh_", key[:15], key[:-1], key + "A", key.upper(), key + "\ud800", "gh_" + "\x00" * 62):
        assert live.find(wrong, NOW) is None
    store.revoke("ops", NOW)
    live.refresh()
    assert live.judge(key, NOW)[1] == "key_revoked"
    assert live.judge(late, NOW + 10)[1] == "key_revoked"
    assert live.judge(key[:16] + new_key()[16:], NOW)[1] == "key_wrong_secret"


@given(st.integers(0, 64), st.integers(1, 127))
def test_a_key_with_any_byte_changed_is_not_found(place: int, bits: int) -> None:
    """Every character counts, the checksum's too."""
    key, pepper = new_key(), os.urandom(32)
    changed = key[:place] + chr(ord(key[place]) ^ bits) + key[place + 1 :]
    assert digest(pepper, changed) != digest(pepper, key)


def test_changes_by_others_are_seen(store: KeyStore, live: LiveKeys) -> None:
    """Keys made and revoked elsewhere take effect at the next look; one without news changes nothing."""
    key = store.create("ops", now=NOW)
    assert live.find(key, NOW) is None
    live.refresh()
    record = live.find(key, NOW)
    assert record is not None
    live.refresh()
    assert live.find(key, NOW) is record
    store.revoke("ops", NOW)
    assert live.lapse(record, NOW) == ""
    live.refresh()
    assert live.lapse(record, NOW) == "key_revoked"


def test_a_revocation_is_effective_in_a_running_server(store: KeyStore) -> None:
    """With the thread running, a revoked key stops without anybody asking for it."""
    key = store.create("ops", now=NOW)
    live = LiveKeys(store)
    live.start(period=0.01)
    assert live.find(key, NOW)
    store.revoke("ops", NOW)
    assert wait_until(lambda: live.find(key, NOW) is None)
    live.stop()
    store.create("ops", now=NOW)
    assert live.judge(key, NOW)[1] == "key_revoked"


def test_a_replaced_file_is_seen(store: KeyStore, live: LiveKeys, tmp_path: Path) -> None:
    """A database put in the old one's place, as a backup is, counts from then on; what is gone is unknown."""
    key = store.create("ops", now=NOW)
    live.refresh()
    record = live.find(key, NOW)
    assert record is not None
    empty = tmp_path / "empty.db"
    KeyStore(empty)
    empty.replace(store.path)
    assert live.refresh()
    assert live.lapse(record, NOW) == "key_unknown"
    assert live.find(key, NOW) is None


def test_another_key_under_the_same_id_is_another_key(store: KeyStore, live: LiveKeys) -> None:
    """What was proved with one secret does not stand for another that took its place."""
    key = store.create("ops", now=NOW)
    live.refresh()
    record = live.find(key, NOW)
    assert record is not None
    with sqlite3.connect(store.path) as database:
        database.execute("UPDATE keys SET digest = ?", (bytes(32),))
    database.close()
    live.refresh()
    assert live.lapse(record, NOW) == "key_unknown"


def test_a_broken_connection_is_replaced(store: KeyStore, live: LiveKeys) -> None:
    """Trouble with the connection itself is over at the next look."""
    live._database.close()
    assert not live.refresh()
    assert live.refresh()


def test_an_unreadable_store_fails_closed_in_the_end(store: KeyStore) -> None:
    """A store that is gone leaves the keys as they were for a minute, then none counts, until it is back."""
    now = [0.0]
    key = store.create("ops", now=NOW)
    live = LiveKeys(store, clock=lambda: now[0])
    record = live.find(key, NOW)
    assert record is not None
    kept = store.path.read_bytes()
    for spoil in (store.path.unlink, lambda: store.path.write_bytes(b"hello" * 100)):
        spoil()
        assert not live.refresh()
        now[0] += 59.9
        assert not live.refresh()
        assert live.find(key, NOW) == record
        now[0] += 0.1
        assert not live.refresh()
        for ask in (lambda: live.find(key, NOW), lambda: live.lapse(record, NOW)):
            with pytest.raises(Refusal) as caught:
                ask()
            assert (caught.value.reason, caught.value.note) == ("KEYS_UNAVAILABLE", "key_store_unreadable")
            assert caught.value.retry_after == 1.0
        store.path.write_bytes(kept)
        assert live.refresh()
        assert live.find(key, NOW) == record
    live.stop()


def test_a_locked_store_is_read_when_it_is_free(store: KeyStore, live: LiveKeys) -> None:
    """A writer in the middle of its work is waited for at the next look, not taken for a broken store."""
    key = store.create("ops", now=NOW)
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert not live.refresh()
    writer.execute("ROLLBACK")
    writer.close()
    assert live.refresh()
    assert live.find(key, NOW)


def test_a_server_needs_a_readable_store(store: KeyStore) -> None:
    """At the start there is no last view to fall back on."""
    store.path.unlink()
    with pytest.raises(KeyStoreError, match=re.escape(str(store.path))):
        LiveKeys(store)


def test_an_unknown_id_costs_what_a_wrong_secret_costs(
    store: KeyStore, live: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both make one digest of the whole text; counted, since time is not for a test to judge."""
    key = store.create("ops", now=NOW)
    live.refresh()
    made: list[str] = []

    def counted(pepper: bytes, text: str) -> bytes:
        made.append(text)
        return digest(pepper, text)

    monkeypatch.setattr("guardhouse.interceptors.tokens.keys_live.digest", counted)
    for text, note in ((new_key(), "key_unknown"), (key[:16] + new_key()[16:], "key_wrong_secret")):
        made.clear()
        assert live.judge(text, NOW)[1] == note
        assert made == [text]
