"""The committed modules are those that the .proto files make, and the generator says so when they are not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATED = [
    f"{name}_{suffix}"
    for name in ("guardhouse", "inference")
    for suffix in ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the folder of .proto files and modules."""
    source = REPOSITORY / "protos" / "guardhouse" / "protos"
    return Path(shutil.copytree(source, tmp_path / "protos", ignore=shutil.ignore_patterns("__pycache__")))


def generator(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the generator."""
    command = [sys.executable, str(REPOSITORY / "tools" / "generate_protos.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_committed_modules_are_current() -> None:
    """--check on the repository itself finds nothing stale and prints nothing."""
    done = generator("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_every_stale_file(folder: Path) -> None:
    """--check exits 1 with one line naming the edited, missing and orphaned modules, and writes nothing."""
    (folder / "inference_pb2.py").write_text("edited\n")
    (folder / "guardhouse_pb2.pyi").unlink()
    (folder / "gone_pb2.py").touch()
    done = generator("--check", "--folder", folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert (
        "stale in protos/: gone_pb2.py, guardhouse_pb2.pyi, inference_pb2.py: run `make protos`"
        in done.stderr
    )
    assert (folder / "inference_pb2.py").read_text() == "edited\n"


def test_generating_mends_every_stale_file(folder: Path) -> None:
    """Without --check the same folder is brought back to what is committed, orphans removed."""
    (folder / "inference_pb2.py").write_text("edited\n")
    (folder / "guardhouse_pb2.pyi").unlink()
    (folder / "gone_pb2.py").touch()
    assert generator("--folder", folder).returncode == 0
    committed = REPOSITORY / "protos" / "guardhouse" / "protos"
    assert sorted(path.name for path in folder.glob("*_pb2*")) == GENERATED
    for name in GENERATED:
        assert (folder / name).read_bytes() == (committed / name).read_bytes(), name


def test_broken_proto_is_reported_and_nothing_lost(folder: Path) -> None:
    """A .proto file with an error ends in protoc's message, and the modules stay as they were."""
    before = (folder / "inference_pb2.py").read_bytes()
    (folder / "inference.proto").write_text('syntax = "proto3"; message {')
    done = generator("--folder", folder)
    assert done.returncode == 1
    assert "inference.proto:1" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "inference_pb2.py").read_bytes() == before
