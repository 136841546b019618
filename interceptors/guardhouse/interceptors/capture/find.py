"""Captured messages, found again by the reference on a record, or by the id of a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardhouse.interceptors.ledger.verify import read_lines

from .lines import NAME, REFERENCE, decode, prefix


def find(folder: Path, wanted: str) -> Iterator[dict[str, object]]:
    """The messages of the call *wanted*, in the order in which they came: lines as `decode` gives them.

    Raises:
        ValueError: *wanted* is neither a reference nor an id.
        OSError: A file cannot be read.
    """
    asked = REFERENCE.fullmatch(wanted)
    if asked is None:
        raise ValueError(f"`{wanted[:80]}` is neither the `capture` of a record nor the id of a call")
    names = [asked[1]] if asked[1] else sorted(each.name for each in folder.iterdir())
    for name in filter(NAME.fullmatch, names):
        if (folder / name).is_file():
            yield from _in_file(folder / name, prefix(asked[2]))


def _in_file(path: Path, start: bytes) -> Iterator[dict[str, object]]:
    with path.open("rb") as file:
        for line in read_lines(file):
            if line.startswith(start) and (found := decode(line)):
                yield found
