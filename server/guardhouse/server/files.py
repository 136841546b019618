"""Files written whole or not at all: first beside their place, then moved there."""

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

SECRET: Final = 0o600
PUBLIC: Final = 0o644


class File(NamedTuple):
    """What a file is to hold, and its permissions (before the umask)."""

    content: bytes
    mode: int = PUBLIC


def key_pair(stem: Path, certificate: bytes, key: bytes) -> dict[Path, File]:
    """Return the two files of a certificate, by path: `stem`.pem, and `stem`.key of mode 0600."""
    return {
        stem.with_name(f"{stem.name}.pem"): File(certificate),
        stem.with_name(f"{stem.name}.key"): File(key, SECRET),
    }


def check_places(paths: Iterable[Path], *, force: bool = False) -> None:
    """Raise OSError for the first path where no file can be written.

    That is a folder, or, without `force`, anything at all, if only a dangling link.
    """
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(f"{path} is a folder where a file is to be written: move it away")
        if not force and os.path.lexists(path):
            raise FileExistsError(f"{path} exists: choose another place, or replace it with --force")


def write_files(files: Mapping[Path, File], *, force: bool = False) -> None:
    """Write all files, in folders that exist. Without `force`, one that exists refuses them all.

    Each appears complete, with its permissions, or not at all. Raises what `check_places` raises before
    anything is written, and OSError where the disk refuses.
    """
    check_places(files, force=force)
    waiting: dict[Path, Path] = {}
    try:
        for path, file in files.items():
            waiting[path] = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
            _write(waiting[path], file)
        for path, beside in waiting.items():
            beside.replace(path)
    finally:
        for beside in waiting.values():
            beside.unlink(missing_ok=True)


def _write(path: Path, file: File) -> None:
    """Write a new file and bring it to the disk. It has its permissions before it has any content."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content)
        stream.flush()
        os.fsync(descriptor)
