"""What a ledger line is: one entry as printable ASCII JSON, bound by hash to the line before it. No I/O here.

A line is the entry's own members, then ``"seq"`` (from 1, without gaps) and ``"prev"`` (lower-case hex
SHA-256 of the whole line before it, newline left out). The first line of a chain is the genesis entry; its
``"prev"`` is zeros.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

VERSION = 1
SCHEME = "sha256"
GENESIS = "genesis"
GAP = "gap"
NO_HASH = "0" * 64
_DEEPEST = 32


class Link(NamedTuple):
    """A place in a chain: the number of a line and its hash. The next line must name both."""

    sequence: int
    digest: str


class Line(NamedTuple):
    """A line read back: its whole entry, its number, and the hash that it names."""

    entry: dict[str, object]
    sequence: int
    prev: str


START = Link(0, NO_HASH)


def stamp(seconds: float) -> str:
    """Seconds since the epoch as UTC text with microseconds (RFC 3339), as every entry's ``time``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def genesis(chain: str, time: str) -> dict[str, object]:
    """The entry that begins a chain; *chain* is 32 random hex digits."""
    return {"kind": GENESIS, "version": VERSION, "scheme": SCHEME, "chain": chain, "time": time}


def gap(reason: str, time: str, **facts: object) -> dict[str, object]:
    """The entry by which the ledger itself records that something of it was lost or cut."""
    return {"kind": GAP, "time": time, "reason": reason, **facts}


def encode(entry: Mapping[str, object]) -> bytes:
    """*entry* as one JSON object of printable ASCII; what JSON cannot carry is kept as escaped text.

    Raises ValueError where the entry brings the chain's own members, ``seq`` or ``prev``.
    """
    if "seq" in entry or "prev" in entry:
        raise ValueError('"seq" and "prev" belong to the ledger: an entry cannot bring them')
    try:
        body = orjson.dumps(entry or {"kind": ""})
    except TypeError:  # lone surrogates, bytes, huge integers, objects
        return _escaped(_plain(entry, 0))
    # orjson leaves DEL, C1 controls and U+2028 as they are: readers may take those for line ends or commands.
    if body.isascii() and b"\x7f" not in body:
        return body
    return _escaped(orjson.loads(body))


def bind(body: bytes, link: Link) -> bytes:
    """The line, without newline, that carries *body* (as `encode` made it) and follows *link*."""
    return b'%b,"seq":%d,"prev":"%b"}' % (body[:-1], link.sequence + 1, link.digest.encode())


def digest(line: bytes) -> str:
    """The hash by which the next line names *line* (without its newline)."""
    return hashlib.sha256(line).hexdigest()


def parse(line: bytes) -> Line | None:
    """What *line* (without newline) says, or None where it is no ledger line."""
    try:
        entry = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    sequence, prev = entry.get("seq"), entry.get("prev")
    if type(sequence) is not int or sequence < 1 or not isinstance(prev, str):
        return None
    if not line.endswith(b',"seq":%d,"prev":"%b"}' % (sequence, prev.encode())):
        return None
    return Line(entry, sequence, prev)


def link_of(line: bytes) -> Link | None:
    """The place of *line* (without newline) in its chain, or None where it is no ledger line."""
    parsed = parse(line)
    return Link(parsed.sequence, digest(line)) if parsed else None


def _escaped(value: object) -> bytes:
    """JSON with every character outside printable ASCII written as ``\\uXXXX``."""
    # DEL is the one control that json leaves alone; it can only stand inside a string.
    return json.dumps(value, separators=(",", ":")).encode("ascii").replace(b"\x7f", b"\\u007f")


def _plain(value: object, depth: int) -> object:
    """*value* made of what JSON can carry: nothing is dropped, the odd is turned into text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(_plain(key, _DEEPEST)): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _leaf(value)


def _leaf(value: object) -> object:
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else hex(value)
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        return f"<{type(value).__name__}>"
