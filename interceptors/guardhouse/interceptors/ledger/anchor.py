"""The ledger's head, kept outside of it: lines cut from the end, or an old copy put back, then show."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from .chain import Link

_FORM: Final = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})")


def parse_anchor(text: str) -> Link:
    """The head in SEQ:HASH, the content of an anchor file. Raises ValueError."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError("is not SEQ:HASH, a line's number and 64 hex digits")
    return Link(int(found[1]), found[2])


def read_anchor(path: Path) -> Link | None:
    """The head in the file *path*, None where there is no file. Raises ValueError, OSError."""
    try:
        with path.open("r", encoding="ascii", errors="replace") as stream:
            return parse_anchor(stream.read(256))
    except FileNotFoundError:
        return None


def write_anchor(path: Path, head: Link, fsync: Callable[[int], None]) -> None:
    """Put *head* into the file *path*: whole, synced, mode 0600. On an OSError what was there still is."""
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, f"{head.sequence}:{head.digest}\n".encode())
        fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)


def disagreement(head: Link, anchor: Link | None) -> str:
    """What an *anchor* noted earlier has against the *head* of a ledger; "" for nothing that shows."""
    if anchor is None or head.sequence > anchor.sequence or head == anchor:
        return ""
    if head.sequence < anchor.sequence:
        return f"it ends at seq {head.sequence}, its anchor says {anchor.sequence}: the rest was cut off"
    return (
        f"its seq {head.sequence} is not the line that its anchor names: another history was put in its place"
    )
