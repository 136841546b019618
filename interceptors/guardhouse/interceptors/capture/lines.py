"""What a captured message is on disk, in which file it goes, and which files must go. No I/O here.

A file holds the calls that arrived within one hour (UTC) and is named by it; a line is one message as JSON of
printable ASCII, its bytes in base64. A line begins with the id of its call, so that it is found without
reading the rest.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.jsonl")
REFERENCE: Final = re.compile(rf"(?:({NAME.pattern}):)?([0-9a-f]{{16}})")
HOUR: Final = timedelta(hours=1)
OVERHEAD: Final = 600  # bytes of a line beside the message, at most: names are at most 128 characters


class Message(NamedTuple):
    """One message of a call.

    Attributes:
        call: The call's id, 64 bits.
        wall_ns: When the call arrived, nanoseconds since the epoch.
        part: "request" or "response".
        number: Which of the call's requests or responses, from 1.
        type: The full name of its protobuf type.
        size: Its bytes before it was cut.
        data: Its bytes, or the first of them.
    """

    call: int
    wall_ns: int
    model: str
    part: str
    number: int
    type: str
    size: int
    data: bytes

    @property
    def weight(self) -> int:
        """Bytes that it takes on disk, at most."""
        return OVERHEAD + (len(self.data) + 2) // 3 * 4


class File(NamedTuple):
    """A file of captures: its name, and its size in bytes."""

    name: str
    size: int


def file_name(wall_ns: int) -> str:
    """The name of the file for calls that arrived at *wall_ns*."""
    return datetime.fromtimestamp(wall_ns // 10**9, UTC).strftime("%Y-%m-%dT%H.jsonl")


def reference(call: int, wall_ns: int) -> str:
    """What the record of a call says about where its messages are: file and id."""
    return f"{file_name(wall_ns)}:{call:016x}"


def prefix(call: str) -> bytes:
    """How every line about *call* begins."""
    return b'{"call":"%b",' % call.encode("ascii")


def encode(message: Message) -> bytes:
    """The line of *message*, with its newline."""
    time = datetime.fromtimestamp(message.wall_ns // 10**9, UTC)
    facts = {
        "call": f"{message.call:016x}",
        "arrived": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": message.model,
        "part": message.part,
        "number": message.number,
        "type": message.type,
        "size": message.size,
        "data": b64encode(message.data).decode(),
    }
    return json.dumps(facts, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, object] | None:
    """The members of a line, with `data` as bytes; None where it is none of ours, or torn."""
    try:
        facts = json.loads(line)
        return {**facts, "data": b64decode(facts["data"], validate=True)}
    except (ValueError, KeyError, TypeError):
        return None


def doomed(files: Iterable[File], now: float, keep: float, spare: int) -> list[str]:
    """Which of *files* must go: those past *keep* seconds, then the oldest until all take *spare* bytes.

    The file of the present hour stays.
    """
    kept = sorted(file for file in files if NAME.fullmatch(file.name))
    born = datetime.fromtimestamp(max(0.0, now - keep), UTC) - HOUR
    present = file_name(int(now * 10**9))
    gone, size = [], sum(file.size for file in kept)
    for file in kept:
        expired = file.name < born.strftime("%Y-%m-%dT%H.jsonl")
        if expired or (size > spare and file.name < present):
            gone.append(file.name)
            size -= file.size
    return gone
