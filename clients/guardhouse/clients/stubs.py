"""Hand out the protocol: a Python package of stubs that needs no Guardhouse, or the bare .proto files."""

import keyword
import sys
from pathlib import Path

from guardhouse.protos import module_files, proto_files

# Importing a package of this name must go on finding what it finds now.
TAKEN = sys.stdlib_module_names | {"google", "grpc", "guardhouse"}

INIT = '''"""The Open Inference Protocol and Guardhouse's own service, as written by `guardhouse stubs`.

It needs grpcio 1.80 and protobuf 6.31, or later; a type checker also wants types-grpcio and types-protobuf.
It keeps to a descriptor pool of its own, so it imports beside any package that brings the same protocol.
"""
'''


def write_python(out: Path, *, force: bool = False) -> list[Path]:
    """Make `out` a Python package of messages, stubs, servicers and their types; return its files.

    A file that already has the right text is left alone. Raises ValueError where the folder's name is none
    that Python could import, FileExistsError where a file is there and differs (unless `force`), and OSError
    where the folder cannot be written. Nothing is written where a file stands in the way.
    """
    _check_name(out.resolve().name)
    texts = {"__init__.py": INIT.encode(), "py.typed": b""}
    texts |= {source.name: source.read_bytes() for source in module_files()}
    return _write(out, texts, force=force)


def write_protos(out: Path, *, force: bool = False) -> list[Path]:
    """Write the .proto files into `out`; return them.

    Each compiles on its own. Raises FileExistsError and OSError as `write_python` does.
    """
    return _write(out, {source.name: source.read_bytes() for source in proto_files()}, force=force)


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name Python could import: choose a folder like guardhouse_stubs")
    if name in TAKEN:
        raise ValueError(
            f"a package named {name!r} would hide another: choose a folder like guardhouse_stubs"
        )


def _write(out: Path, texts: dict[str, bytes], *, force: bool) -> list[Path]:
    wanted = {out / name: text for name, text in texts.items()}
    stale = {path: text for path, text in wanted.items() if not path.is_file() or path.read_bytes() != text}
    in_the_way = [path for path in stale if path.exists()]
    if in_the_way and not force:
        raise FileExistsError(f"{in_the_way[0]} exists and differs from what would be written")
    out.mkdir(parents=True, exist_ok=True)
    for path, text in stale.items():
        path.write_bytes(text)
    return list(wanted)
