"""Secrets planted wherever a caller or a model can put them, and looked for in every byte that gets out."""

from __future__ import annotations

import struct
from pathlib import Path

import grpc
import pytest
from gate import INFER, Gate, bearer, command

from guardhouse.protos import inference_pb2 as pb

CANARY = "canary-6f1c"  # what witness_model:broken raises
TENSOR = b"Tensor-canary-91"  # sixteen bytes are four numbers
TOKEN, METADATA, NAME, PARAMETER = (
    "Token-canary-17",
    "Metadata-canary-23",
    "Name-canary-35",
    "Parameter-canary-48",
)


def infer(model: str = "double", raw: bytes = TENSOR, datatype: str = "FP32", name: str = "x") -> bytes:
    """A request whose contents are planted."""
    request = pb.ModelInferRequest(model_name=model, id="1")
    request.inputs.add(name=name, datatype=datatype, shape=[len(raw) // 4])
    request.raw_input_contents.append(raw)
    request.parameters["note"].string_param = PARAMETER
    return request.SerializeToString()


def lying() -> bytes:
    """BYTES whose length lies, with a canary behind it."""
    request = pb.ModelInferRequest(model_name="double")
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", 999) + TENSOR)
    return request.SerializeToString()


# Request, and the status it must get with a good token.
REQUESTS = {
    "answered": (infer(), "OK"),
    "model raises": (infer("broken"), "INTERNAL"),
    "model raises a number": (infer("slow", struct.pack("<f", -12345678.0)), "INTERNAL"),
    "model's shape is wrong": (infer("misshapen"), "INTERNAL"),
    "wrong datatype": (infer(datatype="INT32"), "INVALID_ARGUMENT"),
    "unknown datatype": (infer(datatype=NAME), "INVALID_ARGUMENT"),
    "unknown tensor": (infer(name=NAME), "INVALID_ARGUMENT"),
    "lying length": (lying(), "INVALID_ARGUMENT"),
    "no protobuf": (b"\xff" + TENSOR, "INVALID_ARGUMENT"),
    "denied model": (infer("ghost"), "PERMISSION_DENIED"),
}
# A credential that is refused.
CREDENTIALS = {
    "garbage": f"Bearer {TOKEN}",
    "like a JWT": f"Bearer {TOKEN}.{TOKEN}.{TOKEN}",
    "like an API key": f"Bearer gh_abcdefghijkl_{TOKEN}" + "A" * 28,
    "basic": f"Basic {TOKEN}",
    "long": f"Bearer {TOKEN * 600}",
}


def ask(channel: grpc.Channel, request: bytes, metadata) -> tuple[str, bytes]:
    """The status, and every byte of the answer: message, details, initial and trailing metadata."""
    metadata = (*metadata, ("x-note", METADATA), ("x-note-bin", METADATA.encode()))
    try:
        answer, call = channel.unary_unary(INFER).with_call(request, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        answer, call = b"", error
    pairs = (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ()))
    parts = [answer, (call.details() or "").encode()]
    parts += [part if isinstance(part, bytes) else part.encode() for pair in pairs for part in pair]
    return call.code().name, b"\n".join(parts)


class Told:
    """What got out, place by place."""

    def __init__(self, gate: Gate, sink, secrets: list[str], seen: bytes) -> None:
        self.secrets = secrets
        self.places = {
            "callers": seen,
            "ledger": b"".join(path.read_bytes() for path in (gate.folder / "ledger").iterdir()),
            "spans": b"".join(sink.raw),
        }
        self.log = gate.log()


@pytest.fixture(scope="module")
def told(tmp_path_factory, sink):
    """Everything that left the server after each planted call, and after it has ended."""
    gate = Gate(tmp_path_factory.mktemp("canaries") / "demo", sink.port).start()
    key = command("key", "create", "app-canary", "--dir", str(gate.folder))
    token = gate.token()
    seen = []
    with gate.channel() as channel:
        for request, status in REQUESTS.values():
            for credential in (token, key):
                code, said = ask(channel, request, bearer(credential))
                assert code == status
                seen.append(said)
        for credential in CREDENTIALS.values():
            code, said = ask(channel, infer(), (("authorization", credential),))
            assert code == "UNAUTHENTICATED"
            seen.append(said)
    assert gate.stop() == 0
    assert len(gate.ledger()) == len(sink.spans) == len(seen)
    secrets = [TOKEN, *token.split("."), key, key.rpartition("_")[2]]
    return Told(gate, sink, secrets, b"\n".join(seen))


@pytest.mark.parametrize("place", ["callers", "ledger", "spans"])
def test_no_word_of_a_model_gets_out(told, place):
    """Exception text, its type's name and where the code lives stay with the operator."""
    for word in (CANARY, "witness_model", "RuntimeError: ", "Traceback", str(Path(__file__).parent)):
        assert word.encode() not in told.places[place], word


@pytest.mark.parametrize("place", ["callers", "ledger", "spans"])
def test_no_token_gets_out(told, place):
    """No part of a token or API key, good or bad, is to be found anywhere."""
    for secret in told.secrets:
        assert secret.encode() not in told.places[place], secret


@pytest.mark.parametrize("place", ["callers", "ledger", "spans"])
def test_nothing_of_a_request_gets_out(told, place):
    """Tensors, their names, parameters and metadata of the request are nobody's to keep or to repeat."""
    for word in (TENSOR, METADATA.encode(), NAME.encode(), PARAMETER.encode()):
        assert word not in told.places[place], word


def test_no_path_of_the_server_gets_out(told, tmp_path_factory):
    """No caller, and no receiver of spans, learns where the server's files are."""
    for place in ("callers", "spans"):
        assert str(tmp_path_factory.getbasetemp()).encode() not in told.places[place]


def test_the_operator_reads_what_the_model_said(told):
    """The server's own log has the exception whole, and still no token and no tensor."""
    assert f"RuntimeError: {CANARY}" in told.log
    assert "witness_model.py" in told.log
    for secret in (*told.secrets, TENSOR.decode(), METADATA, PARAMETER):
        assert secret not in told.log
