"""`guardhouse stubs` and what it writes: used by a program that has no Guardhouse."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from guardhouse.clients.stubs import write_protos, write_python
from guardhouse.protos import inference_pb2, inference_pb2_grpc
from guardhouse.server.commands.stubs import command

PYTHON_FILES = {"__init__.py", "py.typed", "pool.py"} | {
    f"{name}_{suffix}"
    for name in ("guardhouse", "inference")
    for suffix in ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")
}

USER = """
import sys
import grpc
{before}
from my_stubs import guardhouse_pb2_grpc, inference_pb2, inference_pb2_grpc
{after}
with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    answer = stub.ServerMetadata(inference_pb2.ServerMetadataRequest(), timeout=20)
    assert isinstance(answer, inference_pb2.ServerMetadataResponse)
    print(answer.name, *sorted(name for name in sys.modules if name.startswith("guardhouse")))
"""
BESIDE = {
    "alone": ("", ""),
    "beside guardhouse": ("", "from guardhouse.protos import inference_pb2_grpc as other"),
    "after tritonclient": ("import tritonclient.grpc", ""),
    "before tritonclient": ("", "import tritonclient.grpc"),
}


class Named(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that only says its name."""

    def ServerMetadata(  # noqa: N802  the protocol's name
        self, request: inference_pb2.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> inference_pb2.ServerMetadataResponse:
        return inference_pb2.ServerMetadataResponse(name="real")


@pytest.fixture
def address() -> Iterator[str]:
    """Return the address of a real server."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Named(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("case", BESIDE)
def test_written_package_calls_a_real_server(case: str, tmp_path: Path, address: str) -> None:
    """The package works in a fresh process: without Guardhouse, beside it, and beside tritonclient."""
    assert {path.name for path in write_python(tmp_path / "my_stubs")} == PYTHON_FILES
    before, after = BESIDE[case]
    done = subprocess.run(
        [sys.executable, "-c", USER.format(before=before, after=after), address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    name, *guardhouse_modules = done.stdout.split()
    assert name == "real"
    assert bool(guardhouse_modules) == (case == "beside guardhouse")


def test_written_package_is_typed(tmp_path: Path) -> None:
    """mypy --strict reads the written types: it passes right calls, sync and async, and finds a wrong one."""
    write_python(tmp_path / "my_stubs")
    (tmp_path / "right.py").write_text(
        "import grpc\n"
        "from my_stubs import inference_pb2 as pb, inference_pb2_grpc as rpc\n"
        "def now(channel: grpc.Channel) -> bool:\n"
        "    return rpc.GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest()).live\n"
        "async def later(channel: grpc.aio.Channel) -> bool:\n"
        "    return (await rpc.GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest())).live\n"
    )
    (tmp_path / "wrong.py").write_text(
        "from my_stubs import inference_pb2 as pb\npb.ModelInferRequest(model=1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "right.py", "wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    complaints = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(complaints) == 1, done.stdout
    assert complaints[0].startswith("wrong.py:2: error:")


def test_written_protos_compile_by_the_printed_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protoc line that the command prints compiles both files, here for the one language at hand."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["--out", "the wire", "--lang", "proto"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("the wire").iterdir()) == ["guardhouse.proto", "inference.proto"]
    [line] = [line for line in done.output.splitlines() if line.strip().startswith("protoc ")]
    arguments = shlex.split(line.replace("--cpp_out", "--python_out"))[1:]
    compiled = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *arguments], check=False, timeout=60
    )
    assert compiled.returncode == 0
    assert {path.name for path in Path("the wire").glob("*.py")} == {"guardhouse_pb2.py", "inference_pb2.py"}


def test_command_prints_files_and_a_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the command writes the Python package, lists every file, and shows how to import it."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["--out", "my_stubs"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in Path("my_stubs").iterdir()} == PYTHON_FILES
    assert all(f"  my_stubs/{name}\n" in done.output for name in PYTHON_FILES)
    assert "  from my_stubs import inference_pb2 as messages, inference_pb2_grpc as rpc\n" in done.output


def test_command_answers_in_json(tmp_path: Path) -> None:
    """With --json the output is one object that lists the files written, and nothing else."""
    done = CliRunner().invoke(command, ["--out", str(tmp_path / "wire"), "--lang", "proto", "--json"])
    written = json.loads(done.stdout)
    assert written == {
        "written": [str(tmp_path / "wire" / f"{n}.proto") for n in ("guardhouse", "inference")]
    }


def test_help_has_an_example() -> None:
    """--help shows a command line that can be copied."""
    assert " guardhouse stubs --out guardhouse_stubs\n" in CliRunner().invoke(command, ["--help"]).output


def test_a_file_that_differs_is_not_overwritten(tmp_path: Path) -> None:
    """A changed file stops the command in one line naming it, with nothing written; --force overwrites it."""
    out = tmp_path / "my_stubs"
    out.mkdir()
    (out / "pool.py").write_text("mine\n")
    refused = CliRunner().invoke(command, ["--out", str(out)])
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: {out / 'pool.py'} exists and differs from what would be written:"
        " move it away, or overwrite it with --force\n"
    )
    assert [path.name for path in out.iterdir()] == ["pool.py"]
    assert CliRunner().invoke(command, ["--out", str(out), "--force"]).exit_code == 0
    assert (out / "pool.py").read_text() != "mine\n"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    """A second run finds every file as it should be: no error, and no file touched."""
    first = write_protos(tmp_path)
    times = [path.stat().st_mtime_ns for path in first]
    assert write_protos(tmp_path) == first
    assert [path.stat().st_mtime_ns for path in first] == times


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-stubs", "'my-stubs' is no name Python could import"),
        ("class", "'class' is no name Python could import"),
        ("guardhouse", "a package named 'guardhouse' would hide another"),
        ("json", "a package named 'json' would hide another"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(name: str, said: str, tmp_path: Path) -> None:
    """A Python package gets no name that cannot be imported or hides another package; .proto files may."""
    refused = CliRunner().invoke(command, ["--out", str(tmp_path / name)])
    assert refused.exit_code == 1
    assert refused.stderr == f"Error: {said}: choose a folder like guardhouse_stubs\n"
    assert not (tmp_path / name).exists()
    assert write_protos(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file where the folder should be ends in one line that names it."""
    (tmp_path / "taken").touch()
    refused = CliRunner().invoke(command, ["--out", str(tmp_path / "taken")])
    assert refused.exit_code == 1
    assert refused.stderr == f"Error: cannot write {tmp_path / 'taken'}: File exists: choose another folder\n"
