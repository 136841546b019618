"""Every method of every service that is there, of whatever shape, refuses alike."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from gate import bearer, query
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from guardhouse.interceptors.tokens.jwt import LEEWAY
from guardhouse.protos import guardhouse_pb2, inference_pb2
from guardhouse.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from guardhouse.server.issuer import issue_token, load_key

FILES = (inference_pb2, guardhouse_pb2, health_pb2, reflection_pb2)
METHODS = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
PATHS = [f"/{method.containing_service.full_name}/{method.name}" for method in METHODS]


def call(channel: grpc.Channel, path: str, method: MethodDescriptor, metadata) -> grpc.RpcError:
    """Call *method* in its own shape with an empty message; the refusal that must come."""
    asks = "stream" if method.client_streaming else "unary"
    answers = "stream" if method.server_streaming else "unary"
    made = getattr(channel, f"{asks}_{answers}")(path)
    asked = iter([b""]) if method.client_streaming else b""
    with pytest.raises(grpc.RpcError) as error:
        list(made(asked, metadata=metadata, timeout=10))
    return error.value


def reason(error: grpc.RpcError) -> str:
    return dict(error.trailing_metadata())["guardhouse-reason"]


@pytest.mark.parametrize(("path", "method"), list(zip(PATHS, METHODS, strict=True)), ids=PATHS)
def test_without_a_token_or_a_role_nothing_is_told(gate, path, method):
    """No token, a forged one, one of a role that may do nothing here: the same three answers everywhere."""
    nobody = bearer(gate.token("nobody"))
    with gate.channel() as channel:
        refused = [call(channel, path, method, shown) for shown in ((), bearer("forged"), nobody)]

    assert [(error.code(), reason(error)) for error in refused] == [
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        (grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED"),
    ]


def test_a_token_that_expires_ends_an_open_stream(gate):
    """The first question is answered; the one after the token's end reaches no model."""
    key, now = load_key((gate.folder / "pki/token.key").read_bytes()), time.time()
    left = 2 - LEEWAY  # seconds from now to its `exp`
    token = issue_token(key, "tester", roles=["operator"], now=now - 100, ttl=100 + left)
    shown = bearer(token.text)
    before = gate.calls(b".")

    def questions() -> Iterator[inference_pb2.ModelInferRequest]:
        yield query("double", [1])
        time.sleep(2.5)  # the end of a real token, checked by another process
        yield query("double", [2])

    with gate.channel() as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(questions(), metadata=shown, timeout=20)
        next(answers)
        with pytest.raises(grpc.RpcError) as error:
            next(answers)

    assert (error.value.code(), reason(error.value)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert gate.calls(b".") == before + 1
