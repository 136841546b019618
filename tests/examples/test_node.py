"""The Node example, run by Node against a real server over mutual TLS."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from guardhouse.clients.stubs import write_protos
from guardhouse.clients.testing import TRACE_ID, Server, refuse, serve
from guardhouse.protos import inference_pb2 as pb

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"
Run = Callable[..., subprocess.CompletedProcess[str]]


def digits(method: str, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> Message:
    """Say 7 to a picture with a bright stroke where a seven has one, to a caller with the right token."""
    if dict(context.invocation_metadata()).get("authorization") != "Bearer test-token":
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not accepted")
    context.set_trailing_metadata((("guardhouse-trace-id", TRACE_ID),))
    pixels = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(request.inputs[0].shape)
    label = 7 if (request.model_name, pixels.shape, pixels[0, 43]) == ("digits", (1, 64), 16) else 0
    response = pb.ModelInferResponse(model_name=request.model_name)
    response.outputs.add(name="label", datatype="INT64", shape=[1])
    response.raw_output_contents.append(np.array([label], "<i8").tobytes())
    return response


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with the one model, and the profile of a client of it."""
    running: AbstractContextManager[Server] = serve(tmp_path, digits)
    with running as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the example in a folder of its own, with the packages it names installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "client.mjs", ".npmrc"):
        shutil.copy(EXAMPLE / name, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    try:
        installed = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=90, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm install took too long: no registry?")
    if installed.returncode:
        pytest.skip(f"npm install failed: {installed.stderr.strip().splitlines()[-1:]}")
    (proto, *_) = [path for path in write_protos(folder / "proto") if path.name == "inference.proto"]

    def run(profile: Path) -> subprocess.CompletedProcess[str]:
        arguments: list[Any] = [node, "client.mjs", profile, proto]
        return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=30, check=False)

    return run


def test_a_node_client_gets_its_answer(run: Run, server: Server) -> None:
    """Node, with the profile and the written .proto files, prints the label and the trace of the call."""
    done = run(server.profile)
    assert (done.returncode, done.stdout) == (0, f"label 7\ntrace {TRACE_ID}\n"), done.stderr


def test_a_node_client_is_told_why_it_is_refused(run: Run, server: Server) -> None:
    """With another token, Node prints code, reason, words and trace on stderr, and exits with 1."""
    (server.profile / "token").write_text("another-token\n")
    done = run(server.profile)
    words = f"refused: UNAUTHENTICATED TOKEN_INVALID: the token is not accepted (trace {TRACE_ID})\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", words)


def test_a_node_client_without_its_certificate_gets_nowhere(
    run: Run, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a certificate from another authority the handshake fails, and no call arrives."""
    other = tmp_path_factory.mktemp("other")
    with serve(other, digits):
        for name in ("client.pem", "client.key"):
            shutil.copy(other / name, server.profile)
    done = run(server.profile)
    assert done.returncode == 1
    assert done.stderr.startswith("refused: UNAVAILABLE ")
    assert server.calls == []
