"""API keys as texts and as records; pure, but for the reading of rows.

A key is `gh_<id>_<secret><checksum>`: an id in the clear (60 bits, base32), 32 random bytes and a CRC-32
(both base64url). It is stored as HMAC-SHA-256 of its whole text under a random pepper.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import secrets
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from .strict import unpadded

PREFIX: Final = "gh_"
ID_LENGTH: Final = 12
SECRET_BYTES: Final = 32
CHECKSUM_LENGTH: Final = 6
FORM: Final = re.compile(r"gh_[a-z2-7]{12}_[A-Za-z0-9_-]{49}")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SELECT: Final = """
SELECT id, name, digest, created, expires, revoked, note FROM keys ORDER BY created, rowid
"""


class KeyStoreError(Exception):
    """The store of keys cannot be used. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of one key. Times are seconds since the epoch; None is never."""

    id: str
    name: str
    digest: bytes = field(repr=False)
    created: float
    expires: float | None
    revoked: float | None
    note: str

    def lapse(self, now: float) -> str:
        """Why the key no longer counts at *now*, as a note for the ledger, or ""."""
        if self.revoked is not None:
            return "key_revoked"
        if self.expires is not None and now >= self.expires:
            return "key_expired"
        return ""


def new_key() -> str:
    """The text of a key that never was before."""
    name = base64.b32encode(os.urandom(8)).decode("ascii").lower()[:ID_LENGTH]
    text = f"{PREFIX}{name}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return text + _checksum(text)


def key_id(key: str) -> str:
    """What stands in the text *key* where an id stands."""
    return key[len(PREFIX) : len(PREFIX) + ID_LENGTH]


def mistyped(key: str) -> bool:
    """Whether *key* cannot be any key as it was once shown. For its owner's eyes; the server never tells."""
    text, checksum = key[:-CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return FORM.fullmatch(key) is None or _checksum(text) != checksum


def digest(pepper: bytes, key: str) -> bytes:
    """What is stored of *key*."""
    return hmac.digest(pepper, key.encode("utf-8", "replace"), "sha256")


def read(database: sqlite3.Connection) -> list[KeyRecord]:
    """All records, oldest first."""
    return [KeyRecord(*row) for row in database.execute(SELECT)]


def _checksum(text: str) -> str:
    return unpadded(binascii.crc32(text.encode("ascii")).to_bytes(4))
