"""What a ledger line is: one entry as printable ASCII JSON, bound by hash to the line before it. No I/O here.

A line is the entry's own members, then ``"seq"`` (from 1, without gaps) and ``"prev"``: in lower-case hex,
the SHA-256 of the whole line before it, newline left out, or its HMAC-SHA256 (RFC 2104) where the chain has
a key. The first line of a chain is the genesis entry; its ``"prev"`` is zeros.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson

VERSION: Final = 1
PLAIN: Final = "sha256"
KEYED: Final = "hmac-sha256"
GENESIS: Final = "genesis"
ROTATION: Final = "rotation"
START_ENTRY: Final = "start"
STOP: Final = "stop"
GAP: Final = "gap"
NO_HASH: Final = "0" * 64
_DEEPEST: Final = 32

Digest = Callable[[bytes], str]
"""The hash by which the next line names a line (given without its newline): 64 hex digits."""


class Link(NamedTuple):
    """A place in a chain: the number of a line and its hash. The next line must name both."""

    sequence: int
    digest: str


class Line(NamedTuple):
    """A line read back: its whole entry, its number, and the hash that it names."""

    entry: dict[str, object]
    sequence: int
    prev: str


START: Final = Link(0, NO_HASH)


class Scheme(NamedTuple):
    """How a chain is secured. Its first line says so, and so does the first of every later file.

    *key* names the secret of the hashes, "" where there is none; *signer* is the Ed25519 public key of the
    checkpoints (RFC 8032, 64 hex digits), "" where there are none.
    """

    name: str = PLAIN
    key: str = ""
    signer: str = ""


def scheme_of(entry: Mapping[str, object]) -> Scheme:
    """The scheme that the first entry of a file names. What is missing or mistyped reads as the weakest."""
    return Scheme(*(str(entry.get(member) or "") for member in ("scheme", "key", "signer")))


def digest_by(key: bytes) -> Digest:
    """The hash of a chain with *key*, or of one without where it is empty."""
    if not key:
        return lambda line: hashlib.sha256(line).hexdigest()
    begun = hmac.new(key, digestmod="sha256")

    def keyed(line: bytes) -> str:
        state = begun.copy()
        state.update(line)
        return state.hexdigest()

    return keyed


def key_name(key: bytes) -> str:
    """What a chain calls its *key*: enough to tell a wrong one, of no use to find it. "" for no key."""
    return hmac.new(key, b"guardhouse ledger key", "sha256").hexdigest()[:16] if key else ""


def stamp(seconds: float) -> str:
    """Seconds since the epoch as UTC text with microseconds (RFC 3339), as every entry's ``time``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def genesis(scheme: Scheme, chain: str, time: str) -> dict[str, object]:
    """The entry that begins a chain; *chain* is 32 random hex digits."""
    return {"kind": GENESIS, "version": VERSION, **_facts(scheme), "chain": chain, "time": time}


def rotation(scheme: Scheme, previous: str, time: str) -> dict[str, object]:
    """The entry that begins a further file of a chain; *previous* is the name of the file before."""
    return {"kind": ROTATION, "version": VERSION, **_facts(scheme), "previous": previous, "time": time}


def start(program: str, pid: int, closed: bool, time: str) -> dict[str, object]:
    """The entry of a writer that starts. *closed*: the one before it, if any, had stopped properly."""
    return {"kind": START_ENTRY, "time": time, "program": program, "pid": pid, "closed": closed}


def stop(time: str) -> dict[str, object]:
    """The entry of a writer that stopped properly; its last."""
    return {"kind": STOP, "time": time}


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


def bind(bodies: Iterable[bytes], link: Link, digest: Digest) -> tuple[list[bytes], Link]:
    """The lines, without newlines, that carry *bodies* (made by `encode`) and follow *link*; the new end."""
    sequence, prev = link
    lines = []
    for body in bodies:
        sequence += 1
        line = body[:-1] + f',"seq":{sequence},"prev":"{prev}"}}'.encode()
        prev = digest(line)
        lines.append(line)
    return lines, Link(sequence, prev)


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


def link_of(line: bytes, digest: Digest) -> Link:
    """The place of a ledger *line* (without newline) in its chain; `START` for none."""
    parsed = parse(line)
    return Link(parsed.sequence, digest(line)) if parsed else START


def _facts(scheme: Scheme) -> dict[str, object]:
    return {"scheme": scheme.name, "key": scheme.key, "signer": scheme.signer}


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
