"""Make the Python modules of protos/ from its .proto files; with --check, only say whether they are current.

What protoc writes is changed in three places, nowhere in the descriptors or on the wire: the modules register
in the pool of ``pool.py`` instead of protobuf's default one, import each other relatively, and carry their
real names, so that the folder can be copied elsewhere as a package and its messages can be pickled.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "protos" / "guardhouse" / "protos"
# The oldest tools whose code we want to load: newer ones demand a newer protobuf of every user.
TOOLS = "1.80.0"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
# By kind of file: what must be found, and what takes its place.
REWRITES: dict[str, tuple[tuple[str, str], ...]] = {
    "_pb2.py": (
        (r"^from google\.protobuf import descriptor_pool as .*", "from .pool import POOL as _POOL"),
        (r"_descriptor_pool\.Default\(\)", "_POOL"),
        (r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, )'\w+_pb2'", r"\1__name__"),
    ),
    "_pb2.pyi": (),
    "_pb2_grpc.py": ((r"^import (\w+_pb2) as ", r"from . import \1 as "),),
    "_pb2_grpc.pyi": ((r"^import (\w+_pb2) as ", r"from . import \1 as "),),
}


def main() -> None:
    """Write the modules, or compare them; exit 1 with one line where something is amiss."""
    parser = argparse.ArgumentParser(description="Make the Python modules of protos/ from its .proto files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a module is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the .proto files and modules are")
    arguments = parser.parse_args()
    fresh = generate(arguments.folder)
    if not arguments.check:
        write(arguments.folder, fresh)
    elif stale := stale_names(arguments.folder, fresh):
        sys.exit(f"stale in protos/: {', '.join(stale)}: run `make protos` and commit the result")


def write(folder: Path, fresh: dict[str, str]) -> None:
    """Replace the modules of a folder."""
    for name in generated_names(folder) - fresh.keys():
        (folder / name).unlink()
    for name, text in fresh.items():
        (folder / name).write_text(text, encoding="utf-8")


def stale_names(folder: Path, fresh: dict[str, str]) -> list[str]:
    """Name the modules that are missing, differ, or have lost their .proto file."""
    found = generated_names(folder)
    differing = {name for name in found & fresh.keys() if read(folder / name) != fresh[name]}
    return sorted(differing | (found ^ fresh.keys()))


def generated_names(folder: Path) -> set[str]:
    """Name the generated modules a folder holds."""
    return {path.name for path in folder.iterdir() if path.name.endswith(SUFFIXES)}


def generate(folder: Path) -> dict[str, str]:
    """Return name and text of every module for the .proto files in a folder."""
    protos = sorted(path.name for path in folder.glob("*.proto"))
    names = [proto.removesuffix(".proto") + suffix for proto in protos for suffix in SUFFIXES]
    with tempfile.TemporaryDirectory() as out:
        run_protoc(folder, Path(out), protos)
        return {name: rewrite(name, read(Path(out, name))) for name in names}


def rewrite(name: str, text: str) -> str:
    """Apply the rewrites of a file's kind; each must apply, or protoc now writes something we do not know."""
    kind = next(suffix for suffix in SUFFIXES if name.endswith(suffix))
    for pattern, replacement in REWRITES[kind]:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if not count:
            sys.exit(f"{name}: nothing matches {pattern!r}: adapt REWRITES in tools/generate_protos.py")
    return text


def run_protoc(folder: Path, out: Path, protos: list[str]) -> None:
    """Run protoc with the plugins of this interpreter's environment."""
    have = metadata.version("grpcio-tools")
    if have != TOOLS:
        sys.exit(f"grpcio-tools {have} is installed, the modules are made with {TOOLS}: install that one")
    scripts = Path(sys.executable).parent
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}"),
        *(f"--plugin={name}={scripts / name}" for name in PLUGINS),
        *(f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out=quiet:{out}"),
        # A servicer need not implement every method: the generated class answers UNIMPLEMENTED.
        f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{out}",
        *protos,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"protoc failed with exit code {done.returncode}")


def read(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
