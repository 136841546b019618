"""The keys of a ledger: a secret for the hashes of its chain, and a pair that signs its checkpoints."""

import re
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from .chain import Link, encode

CHECKPOINT: Final = "checkpoint"
LEAST: Final = 32  # bytes of a secret: as long as its hash (RFC 2104, section 3)
_MOST: Final = 1 << 16
_SIGNATURE: Final = re.compile(
    rb'(.*),"signature":"([0-9a-f]{128})","seq":[0-9]+,"prev":"[0-9a-f]{64}"}', re.DOTALL
)


def secret(content: bytes) -> bytes:
    """The secret in *content*, without blanks and line ends around it. Raises ValueError if too short."""
    found = content.strip()
    if not found:
        raise ValueError("is empty; put at least 32 random bytes there: openssl rand -hex 32")
    if len(found) < LEAST:
        raise ValueError(f"has {len(found)} bytes; it needs at least {LEAST}: openssl rand -hex 32")
    return found


def secret_in(path: Path) -> bytes:
    """The secret in the file *path*. Raises ValueError for one that is short or open to all, OSError."""
    return secret(_read_private(path))


class Signer:
    """Signs checkpoints with an Ed25519 key (RFC 8032). *public* is its public half, 64 hex digits."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = _hex(key.public_key())

    @classmethod
    def load(cls, path: Path) -> "Signer":
        """The key in the PEM file *path*. Raises ValueError where it holds something else, OSError."""
        content = _read_private(path)
        try:
            key = load_pem_private_key(content, password=None)
        except TypeError:
            raise ValueError("is encrypted; write it out without a passphrase, mode 0600") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("holds no private key in PEM: openssl genpkey -algorithm ed25519") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("is not an Ed25519 key: openssl genpkey -algorithm ed25519")
        return cls(key)

    def checkpoint(self, link: Link, time: str) -> bytes:
        """The body of a line that vouches for all lines up to *link*, which stands right before it."""
        body = encode({"kind": CHECKPOINT, "time": time, "last": link.sequence, "head": link.digest})
        return b'%b,"signature":"%b"}' % (body[:-1], self._key.sign(body).hex().encode())


def is_signed(line: bytes, public: str) -> bool:
    """Whether the checkpoint *line* bears a signature by *public* (hex) over its members before it."""
    found = _SIGNATURE.fullmatch(line)
    if not found:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(found[2].decode()), found[1] + b"}")
    except (ValueError, InvalidSignature):
        return False
    return True


def public_key_in(path: Path) -> str:
    """The Ed25519 public key in the PEM file *path*, as hex. Raises ValueError, OSError."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no public key in PEM; it begins -----BEGIN PUBLIC KEY-----") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is not an Ed25519 key")
    return _hex(key)


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MOST)


def _read_private(path: Path) -> bytes:
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ValueError(f"may be read or written by everybody; run chmod 600 {path}")
    return _read(path)
