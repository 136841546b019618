"""`guardhouse infer` and `guardhouse whoami` against a real server over mutual TLS."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf.message import Message

from guardhouse.clients.testing import TRACE_ID, Server, refuse, serve
from guardhouse.protos import guardhouse_pb2
from guardhouse.protos import inference_pb2 as pb
from guardhouse.server.commands import infer, whoami

PIXELS = [0, 1, 2, 3]


def answer(method: str, request: Any, context: grpc.ServicerContext) -> Message:
    """Classify four pixels as the brightest one, for callers with the right token."""
    if dict(context.invocation_metadata()).get("authorization") != "Bearer test-token":
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "a bearer token is required")
    context.set_trailing_metadata((("guardhouse-trace-id", TRACE_ID),))
    if method == "WhoAmI":
        return guardhouse_pb2.WhoAmIResponse(subject="notebook", roles=["analyst"], proofs=["mtls", "jwt"])
    if method == "ModelMetadata":
        image = pb.ModelMetadataResponse.TensorMetadata(name="image", datatype="FP32", shape=[-1, 4])
        return pb.ModelMetadataResponse(name="digits", inputs=[image])
    return classify(request)


def classify(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """Label each row by its brightest pixel, with one probability each."""
    pixels = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(-1, 4)
    outputs = {"label": pixels.argmax(axis=1), "probabilities": pixels / pixels.sum(axis=1, keepdims=True)}
    response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for name, array in outputs.items():
        datatype = "INT64" if name == "label" else "FP32"
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The server, with a profile and a digit in its folder."""
    (tmp_path / "x.json").write_text(json.dumps(PIXELS))
    with serve(tmp_path, answer) as running:
        yield running


def run(server: Server, *arguments: object, command: Any = infer.command) -> Result:
    """Run the command with the server's profile."""
    return CliRunner().invoke(command, [*map(str, arguments), "--profile", str(server.profile)])


def test_an_answer_can_be_read(server: Server) -> None:
    """The label, the probabilities, the trace and the way to it are printed."""
    done = run(server, "digits", "--input", server.profile / "x.json")
    lines = done.stdout.splitlines()
    assert (done.exit_code, done.stderr) == (0, "")
    assert lines[0].startswith("digits version 1, ")
    assert lines[1:] == [
        "  label          INT64 [1]    3",
        "  probabilities  FP32 [1, 4]  3: 0.5   2: 0.333   1: 0.167",
        f"trace {TRACE_ID}",
        f"see it with: guardhouse traces {TRACE_ID}",
    ]


def test_an_answer_as_json_and_as_a_file(server: Server) -> None:
    """--json prints outputs and trace id for a program, and --output writes the same arrays."""
    np.save(server.profile / "x.npy", np.array([PIXELS, PIXELS[::-1]], np.float32))
    out = server.profile / "out.npz"
    done = run(server, "digits", "--input", f"image={server.profile / 'x.npy'}", "--json", "--output", out)
    data = json.loads(done.stdout)
    assert (done.exit_code, data["outputs"]["label"], data["trace_id"]) == (0, [3, 0], TRACE_ID)
    with np.load(out) as arrays:
        assert arrays["label"].tolist() == [3, 0]


def test_a_refusal_is_one_line(server: Server) -> None:
    """Without a token: exit 1, and one line with code, reason, what to do, error id and trace id."""
    done = run(server, "digits", "--input", server.profile / "x.json", "--no-token")
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    for part in (
        "UNAUTHENTICATED TOKEN_MISSING",
        "--token-file FILE",
        "error 00f067aa0ba902b7",
        f"trace {TRACE_ID}",
    ):
        assert part in line
    assert not [call for call in server.calls if "authorization" in call.metadata]


def test_a_refusal_as_json(server: Server) -> None:
    """With --json the refusal is data on stdout, and the exit is still 1."""
    done = run(server, "digits", "--input", server.profile / "x.json", "--token", "wrong", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"], error["reason"]) == (1, "UNAUTHENTICATED", "TOKEN_MISSING")
    assert (error["error_id"], error["trace_id"]) == ("00f067aa0ba902b7", TRACE_ID)


def test_another_token_file_and_target(server: Server, tmp_path: Path) -> None:
    """--token-file and --target win over the profile, whose own token need not be there."""
    profile = server.profile / "client.yaml"
    profile.write_text(profile.read_text().replace(server.target, "127.0.0.1:1"))
    (server.profile / "token").rename(tmp_path / "mine")
    arguments = ("--token-file", tmp_path / "mine", "--target", server.target)
    done = run(server, "digits", "--input", server.profile / "x.json", *arguments)
    assert done.exit_code == 0, done.stderr


BAD: dict[str, tuple[list[str], str]] = {
    "missing input": (["--input", "none.npy"], "Error: cannot read none.npy: No such file or directory\n"),
    "two tokens": (
        ["--input", "x.json", "--token", "a", "--no-token"],
        "Error: give only one of --token, --token-file and --no-token\n",
    ),
    "no profile": (
        ["--input", "x.json"],
        (
            "Error: no client.yaml in this folder or .demo: give --profile DIR, "
            "or make one with `guardhouse init .demo`\n"
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    """A missing file, options that exclude each other, no profile: one line, exit 1, nothing sent."""
    arguments, line = BAD[case]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" if case == "no profile" else tmp_path)
    (Path("x.json")).write_text("[1]")
    done = CliRunner().invoke(infer.command, ["digits", *arguments])
    assert (done.exit_code, done.stderr) == (1, line)
    assert server.calls == []


def test_the_profile_is_found(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without --profile it is that of this folder, or of .demo in it."""
    monkeypatch.chdir(server.profile)
    assert CliRunner().invoke(infer.command, ["digits", "--input", "x.json"]).exit_code == 0
    home = tmp_path / "home"
    home.mkdir()
    (home / ".demo").symlink_to(server.profile)
    monkeypatch.chdir(home)
    assert CliRunner().invoke(infer.command, ["digits", "--input", ".demo/x.json"]).exit_code == 0


def test_a_model_with_other_inputs_is_explained(server: Server) -> None:
    """Text for a model of numbers is one line that names the input and its datatype."""
    (server.profile / "x.json").write_text('["text"]')
    done = run(server, "digits", "--input", server.profile / "x.json")
    assert (done.exit_code, done.stderr) == (1, "Error: input 'image' is FP32 and cannot be made of text\n")


@pytest.mark.parametrize("text", ["30", "0s", "-1s", "1d", "soon"])
def test_a_time_needs_its_unit(server: Server, text: str) -> None:
    """A timeout without a unit, or of no time, is wrong usage and says how to write it."""
    done = run(server, "digits", "--input", "x.json", "--timeout", text)
    assert done.exit_code == 2
    assert "write it like 30s, 500ms or 2m" in done.stderr


def test_the_timeout_is_the_deadline(server: Server) -> None:
    """--timeout arrives as the deadline of the call."""
    assert run(server, "--timeout", "2m", command=whoami.command).exit_code == 0
    assert 60 < server.calls[0].seconds_left <= 120


def test_who_the_server_takes_one_for(server: Server) -> None:
    """whoami prints subject, roles and proofs, or all of it as JSON; and a refusal like infer does."""
    done = run(server, command=whoami.command)
    assert done.stdout.splitlines()[:3] == [
        "subject      notebook",
        "roles        analyst",
        "proofs       mtls, jwt",
    ]
    assert json.loads(run(server, "--json", command=whoami.command).stdout)["roles"] == ["analyst"]
    refused = run(server, "--no-token", command=whoami.command)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
