"""What the tests of the ledger share: keys, ledgers written by the real writer, a disk that can fail."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.chain import START
from guardhouse.interceptors.ledger.file import NAME, rotated
from guardhouse.interceptors.ledger.keys import Signer
from guardhouse.interceptors.ledger.verify import Demands, Verdict, verify_files

KEY = b"0123456789abcdef0123456789abcdef"
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
QUERY: dict[str, object] = {"kind": "query", "model": "digits", "status": "OK"}


def write(folder: Path, count: int = 3, **options: Any) -> None:
    """One run of a ledger that takes *count* queries."""
    ledger = Ledger(folder, **options)
    for number in range(count):
        ledger.append(QUERY | {"model": f"m{number}"})
    ledger.close()


def files_of(folder: Path) -> list[Path]:
    """The files of a ledger, oldest first."""
    return [*rotated(folder), folder / NAME]


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Every entry of a ledger, in all its files."""
    return [orjson.loads(line) for path in files_of(folder) for line in path.read_bytes().splitlines()]


def verdict_of(folder: Path, **demands: Any) -> Verdict:
    """What `verify_files` finds in a folder."""
    files = [(path.name, path.read_bytes().splitlines(keepends=True)) for path in files_of(folder)]
    return verify_files(files, START, Demands(**demands))


def first_fault(verdict: Verdict) -> tuple[str, int, int | None, str] | None:
    """File, line, number and kind of the first bad record."""
    bad = verdict.bad
    return (bad.file, bad.line, bad.sequence, bad.what) if bad else None


def until(true: Callable[[], bool]) -> None:
    """Wait for the writer; the test's own time limit ends a wait that is in vain."""
    while not true():
        time.sleep(0.002)


class Disk:
    """An fsync that fails or waits when told to; the rest of the disk is real."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.open = threading.Event()
        self.open.set()

    def fsync(self, descriptor: int) -> None:
        self.open.wait(60)
        if self.error:
            raise self.error
        os.fsync(descriptor)
