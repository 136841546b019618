"""When a ledger's file is full or old enough to be set aside, and the name it then gets."""

import math
from datetime import datetime
from typing import NamedTuple

from .chain import parse


class Limits(NamedTuple):
    """How large (bytes) and how old (seconds) a file may become."""

    size: float = math.inf
    age: float = math.inf


class File(NamedTuple):
    """What rotation knows of a file: the number of its first line, and when that was written (epoch)."""

    first: int
    began: float


def file_of(first_line: bytes, sequence: int, now: float) -> File:
    """The file that begins with *first_line*; b"" for one that will begin with line *sequence*, *now*."""
    line = parse(first_line)
    if line is None:
        return File(sequence, now)
    try:
        began = datetime.fromisoformat(str(line.entry.get("time"))).timestamp()
    except ValueError:
        began = now
    return File(line.sequence, began)


def is_due(file: File, last: int, size: int, now: float, limits: Limits) -> bool:
    """Whether a *file* of *size* bytes that ends with line *last* is to be set aside. Not after one line."""
    return last > file.first and (size >= limits.size or now - file.began >= limits.age)


def name_aside(file: File, stamp: str) -> str:
    """The name of a file set aside; sorted by name, such files stand in the order of the chain."""
    return f"ledger-{file.first:012d}-{stamp[:19].replace(':', '')}Z.jsonl"
