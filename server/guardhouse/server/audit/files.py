"""The files of a ledger, oldest first: those that rotation set aside, then the one that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guardhouse.interceptors.ledger.file import NAME, rotated

from .lines import escape

FOLDERS: Final = ("ledger", ".demo/ledger")


class NoLedgerError(Exception):
    """There is no ledger that could be read at the path. The text says what to write instead."""


def ledger_at(path: Path | None) -> Path:
    """What is meant by *path*: the folder or the file itself, or a usual folder where it is left out.

    Raises NoLedgerError where there is no ledger.
    """
    if path is None:
        path = next((Path(folder) for folder in FOLDERS if ledger_files(Path(folder))), None)
        if path is None:
            raise NoLedgerError(f"no ledger in {' or '.join(FOLDERS)}: name its folder or file")
    if not ledger_files(path):
        raise NoLedgerError(f"no ledger at {escape(str(path))}: name its folder or file")
    return path


def ledger_files(path: Path) -> list[Path]:
    """The files at *path* in the order of the chain: all of a folder, or a file alone; [] for neither."""
    found = [*rotated(path), path / NAME] if path.is_dir() else [path]
    return [each for each in found if each.is_file()]
