"""The snippets of docs/clients.md and docs/refusals.md do what they say, against a real server."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from guardhouse_examples import digits

from .running import ROOT, Gate, blocks, commands, shell

CLIENTS = ROOT / "docs/clients.md"
REFUSALS = ROOT / "docs/refusals.md"


def call(channel: grpc.Channel, path: str, message: bytes = b"", metadata: Any = ()) -> bytes:
    """One unary call of bytes."""
    method: Any = channel.unary_unary(path)
    return bytes(method(message, metadata=metadata, timeout=10))


def test_the_client_snippets_run_one_after_another(gate: Gate, reader: Path) -> None:
    """Each snippet runs after those above it, and prints what the prose around it promises."""
    first, second, third, fourth = blocks(CLIENTS, "python")
    names = {"target": gate.address}
    printed = []
    for snippet in (first, second, third, fourth):
        with redirect_stdout(io.StringIO()) as out:
            exec(snippet.replace("np.zeros((1, 64), dtype=np.float32)", "np.load('digit.npy')"), names)
        printed.append(out.getvalue().splitlines())
    answer = digits.answer()
    assert re.fullmatch(rf"\[{answer}\] \(1, 10\) [0-9a-f]{{32}}", printed[0][0])
    assert printed[1] == ["True ('analyst',)", "[('image', 'FP32', (-1, 64))]", f"[{answer}]"]
    assert re.fullmatch(r"MODEL_DENIED [0-9a-f]{16} [0-9a-f]{32}", printed[2][0])
    assert printed[3] == [f"8 [{answer}]"]


@pytest.mark.parametrize("line", commands(CLIENTS))
def test_the_client_commands_run(line: str, gate: Gate, reader: Path) -> None:
    """Each command of the document ends well, as it stands."""
    done = shell(line, reader)
    assert (done.status, done.err) == (0, "")


def test_the_commands_leave_what_they_say(gate: Gate, reader: Path) -> None:
    """--output writes the answer, and the stubs import without ours."""
    for line in commands(CLIENTS):
        shell(line, reader)
    assert np.load(reader / "answer.npz")["label"].tolist() == [digits.answer()]
    assert (reader / "proto/inference.proto").exists()
    assert shell("python -c 'import guardhouse_stubs.inference_pb2_grpc'", reader).status == 0


def test_the_python_snippet_reads_a_refusal(gate: Gate) -> None:
    """`reason` of the document gives the reason and the error id that the ledger has."""
    (snippet,) = blocks(REFUSALS, "python")
    found: dict[str, Any] = {}
    exec(snippet, found)
    with gate.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, "/inference.GRPCInferenceService/ServerLive")
    reason, error_id = found["reason"](caught.value)
    assert reason == "TOKEN_MISSING"
    assert re.fullmatch("[0-9a-f]{16}", error_id)


def test_what_grpc_refuses_has_none_of_our_keys(gate: Gate) -> None:
    """A message over the limit gets grpc's own words and no reason; the ledger has TOO_LARGE."""
    metadata = (("authorization", f"Bearer {gate.token()}"),)
    with gate.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "/inference.GRPCInferenceService/ModelInfer", bytes(5_000_000), metadata)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in str(caught.value.details())
    assert not caught.value.trailing_metadata()
    assert gate.lines_about("ModelInfer", 1, "TOO_LARGE")


def test_a_failed_handshake_leaves_no_line(gate: Gate) -> None:
    """Without a certificate there is no call: nothing is added to the ledger, and stderr has a line."""
    ca = (gate.folder / "gate/pki/ca.pem").read_bytes()
    with grpc.secure_channel(gate.address, grpc.ssl_channel_credentials(ca)) as stranger:
        with pytest.raises(grpc.RpcError) as caught:
            call(stranger, "/Never/Heard")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with gate.channel() as channel:
        with pytest.raises(grpc.RpcError):
            call(channel, "/Never/Served")
    assert gate.lines_about("Never/Served", 1)  # what came before it would be there as well
    assert not gate.lines_about("Never/Heard", 0)
    assert "Handshake failed" in (gate.folder / "log").read_text()


NODE = """\
import {{ readFileSync }} from "node:fs";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
const file = (name) => readFileSync("{profile}/pki/" + name);
const {{ inference }} = grpc.loadPackageDefinition(protoLoader.loadSync("{proto}"));
const tls = grpc.credentials.createSsl(file("ca.pem"), file("client.key"), file("client.pem"));
const client = new inference.GRPCInferenceService("{target}", tls);
const request = {{ modelName: "digits" }};
const metadata = new grpc.Metadata();
{snippet}
"""


def test_the_node_snippet_reads_a_refusal(gate: Gate, tmp_path: Path) -> None:
    """The snippet, run by Node against a real server, prints status, reason and that there is no retry."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    for name in ("package.json", ".npmrc"):
        shutil.copy(ROOT / "examples/node" / name, tmp_path)
    try:
        done = shell(f"{npm} install --no-audit --no-fund --silent", tmp_path)
    except subprocess.TimeoutExpired:
        pytest.skip("npm install took too long: no registry?")
    if done.status:
        pytest.skip("npm install failed: no registry?")
    (snippet,) = blocks(REFUSALS, "js")
    proto = ROOT / "protos/guardhouse/protos/inference.proto"
    text = NODE.format(profile=gate.folder / "gate", proto=proto, target=gate.address, snippet=snippet)
    (tmp_path / "snippet.mjs").write_text(text)
    done = shell(f"{node} snippet.mjs", tmp_path)
    assert done.out == "UNAUTHENTICATED TOKEN_MISSING undefined\n", done.err
