"""API keys at rest: digests only, for the owner alone; what is wrong with the files is said in one line."""

from __future__ import annotations

import re
import sqlite3
import stat
import string
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.tokens.key_records import digest, key_id, new_key
from guardhouse.interceptors.tokens.keys import KeyStore, KeyStoreError, LiveKeys, mistyped

from .issuers import NOW


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.db")


def test_a_key_is_shown_once_and_stored_as_a_keyed_digest(store: KeyStore) -> None:
    """Neither file holds the key or its secret; what is stored is HMAC-SHA-256 under the pepper."""
    key = store.create("ops", note="for the night shift", expires=NOW + 60, now=NOW)
    assert re.fullmatch(r"gh_[a-z2-7]{12}_[A-Za-z0-9_-]{49}", key)
    (record,) = store.list()
    assert record.digest == digest(store.pepper, key)
    assert (record.id, record.name, record.note) == (key_id(key), "ops", "for the night shift")
    assert (record.created, record.expires, record.revoked) == (NOW, NOW + 60, None)
    files = [path.read_bytes() for path in store.path.parent.iterdir()]
    assert len(files) == 2
    assert not any(key.encode() in data or key[16:].encode() in data for data in files)
    assert record.digest.hex() not in repr(record)


def test_the_files_are_the_owners_alone(store: KeyStore) -> None:
    """Database and pepper have mode 0600, whatever the umask."""
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_do_not_repeat(store: KeyStore) -> None:
    """Ids and secrets are fresh each time, also under one name, as a rotation needs."""
    keys = {store.create("ops", now=NOW) for _ in range(20)}
    assert len({key_id(key) for key in keys}) == len({key[16:59] for key in keys}) == 20


def test_a_typo_is_told_from_a_wrong_key() -> None:
    """The checksum tells the owner of a mistyped key; a key with another secret is well typed."""
    key = new_key()
    assert not mistyped(key)
    assert not mistyped(new_key())


LETTERS = string.ascii_letters + string.digits + "-_"


@given(st.integers(0, 64), st.sampled_from(LETTERS))
def test_every_typo_of_one_letter_is_seen(place: int, letter: str) -> None:
    """One wrong letter anywhere makes a key mistyped."""
    key = new_key()
    typed = key[:place] + letter + key[place + 1 :]
    assert mistyped(typed) == (typed != key)
    assert mistyped(key[:place] + key[place + 1 :])


@pytest.mark.parametrize("name", ["", " ", "a b", "ops*", "-ops", ".ops", "a/b", "a:b", "a\n", "ö", "x" * 65])
def test_names_that_are_none(store: KeyStore, name: str) -> None:
    """A name has no character that a policy or a log would read as something else."""
    with pytest.raises(ValueError, match="a key's name is"):
        store.create(name, now=NOW)
    assert store.list() == []


def test_notes_and_expiries_that_are_none(store: KeyStore) -> None:
    """A note is short and printable; an expiry lies ahead."""
    for note in ("a\nb", "x" * 201):
        with pytest.raises(ValueError, match="a note is"):
            store.create("ops", note=note, now=NOW)
    for expires in (NOW, NOW - 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must expire after now"):
            store.create("ops", expires=expires, now=NOW)


def test_revoking_by_id_and_by_name(store: KeyStore) -> None:
    """An id revokes its key, a name all keys of that name; what is revoked already is left as it was."""
    first, second, other = (store.create(name, now=NOW) for name in ("ops", "ops", "dev"))
    assert store.revoke(key_id(first), NOW + 1) == 1
    assert store.revoke("ops", NOW + 2) == 1
    assert store.revoke("ops", NOW + 3) == 0
    assert store.revoke("nobody' OR '1'='1", NOW + 3) == 0
    assert {record.id: record.revoked for record in store.list()} == {
        key_id(first): NOW + 1,
        key_id(second): NOW + 2,
        key_id(other): None,
    }


def test_a_store_outlives_its_process(store: KeyStore) -> None:
    """Opened again, it knows the same keys under the same pepper."""
    key = store.create("ops", now=NOW)
    again = KeyStore(store.path)
    assert again.list() == store.list()
    found = LiveKeys(again)
    assert found.find(key, NOW) == again.list()[0]
    found.stop()


def trouble(path: Path) -> str:
    """What a store there has to say."""
    with pytest.raises(KeyStoreError) as caught:
        KeyStore(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_files_open_to_others_are_refused(store: KeyStore) -> None:
    """A store that others may read is not used, and the command that helps is named."""
    for path in (store.path, Path(f"{store.path}.pepper")):
        path.chmod(0o640)
        assert f"run: chmod 600 {path}" in trouble(store.path)
        path.chmod(0o600)


def test_a_lost_pepper_is_not_replaced(store: KeyStore) -> None:
    """Without its pepper no key can be checked; a new one would make every key wrong in silence."""
    pepper = Path(f"{store.path}.pepper")
    pepper.write_bytes(b"short")
    assert "is not 32 bytes long" in trouble(store.path)
    pepper.unlink()
    assert "restore it from a backup" in trouble(store.path)
    assert not pepper.exists()


def test_files_that_are_no_store(tmp_path: Path, store: KeyStore) -> None:
    """Another file, a folder, no folder, a newer store: each is told for what it is."""
    other = tmp_path / "other.db"
    other.write_bytes(b"hello" * 100)
    other.chmod(0o600)
    pepper = Path(f"{other}.pepper")
    pepper.write_bytes(bytes(32))
    pepper.chmod(0o600)
    assert "file is not a database" in trouble(other)
    assert "No such file or directory" in trouble(tmp_path / "none" / "keys.db")
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    assert "newer guardhouse" in trouble(store.path)


def test_many_at_once_make_one_store(tmp_path: Path) -> None:
    """Processes that open a new store at the same moment share one pepper and lose no key."""
    keys: list[str] = []

    def work() -> None:
        keys.append(KeyStore(tmp_path / "keys.db").create("ops", now=NOW))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = LiveKeys(KeyStore(tmp_path / "keys.db"))
    assert len(keys) == 8
    assert all(live.find(key, NOW) for key in keys)
    live.stop()
