"""Other people's clients work as they are; ours, sync and async, tells all that a refusal says."""

from __future__ import annotations

import asyncio
import secrets

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from gate import Gate, bearer, until
from opentelemetry import trace
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from guardhouse.clients import (
    AsyncClient,
    Client,
    Credentials,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unauthenticated,
)

VALUES = np.array([1.5, -2.0, 3.25], np.float32)


@pytest.fixture(scope="module")
def trickle(gate):
    """A token of a role that may call twice an hour."""
    return gate.token("trickle")


def triton_settings(gate: Gate) -> dict[str, object]:
    pki = gate.folder / "pki"
    return {
        "url": gate.target,
        "ssl": True,
        "root_certificates": str(pki / "ca.pem"),
        "private_key": str(pki / "client.key"),
        "certificate_chain": str(pki / "client.pem"),
    }


def tensor(module, values=VALUES, datatype: str = "FP32"):
    found = module.InferInput("x", list(values.shape), datatype)
    found.set_data_from_numpy(values)
    return found


def test_tritonclient(gate, token):
    """NVIDIA's client asks for everything that the protocol has, over mutual TLS and with a token."""
    headers = {"authorization": f"Bearer {token}"}
    with triton.InferenceServerClient(**triton_settings(gate)) as client:
        live, ready = client.is_server_live(headers=headers), client.is_server_ready(headers=headers)
        model_ready = client.is_model_ready("double", headers=headers)
        server = client.get_server_metadata(headers=headers, as_json=True)
        model = client.get_model_metadata("double", headers=headers, as_json=True)
        output = triton.InferRequestedOutput("y")
        result = client.infer("double", [tensor(triton)], outputs=[output], request_id="7", headers=headers)

    assert (live, ready, model_ready) == (True, True, True)
    assert server["name"] == "guardhouse"
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1"]}]
    np.testing.assert_array_equal(result.as_numpy("y"), VALUES * 2)
    assert result.get_response().id == "7"


# What goes wrong -> how tritonclient names it.
TRITON_ERRORS = {
    "no token": ({}, "double", VALUES, "StatusCode.UNAUTHENTICATED"),
    "no such model": ({"authorization": ""}, "nowhere", VALUES, "StatusCode.PERMISSION_DENIED"),
    "another datatype": (
        {"authorization": ""},
        "double",
        VALUES.astype(np.int32),
        "StatusCode.INVALID_ARGUMENT",
    ),
    "a broken model": ({"authorization": ""}, "broken", VALUES, "StatusCode.INTERNAL"),
}


@pytest.mark.parametrize("name", TRITON_ERRORS)
def test_tritonclient_is_refused(gate, token, name):
    """A refusal reaches NVIDIA's client as its own exception, with our status and words."""
    headers, model, values, status = TRITON_ERRORS[name]
    headers = dict.fromkeys(headers, f"Bearer {token}")
    given = tensor(triton, values, "FP32" if values.dtype == np.float32 else "INT32")
    with triton.InferenceServerClient(**triton_settings(gate)) as client:
        with pytest.raises(InferenceServerException) as refused:
            client.infer(model, [given], headers=headers)

    assert refused.value.status() == status
    assert refused.value.message()


async def test_tritonclient_for_asyncio(gate, token):
    """The same by NVIDIA's client for asyncio, many at once."""
    headers = {"authorization": f"Bearer {token}"}
    async with triton_aio.InferenceServerClient(**triton_settings(gate)) as client:
        assert await client.is_server_live(headers=headers)
        assert await client.is_model_ready("double", headers=headers)
        calls = (client.infer("double", [tensor(triton_aio)], headers=headers) for _ in range(32))
        results = await asyncio.gather(*calls)
        with pytest.raises(InferenceServerException) as refused:
            await client.infer("double", [tensor(triton_aio)])

    for result in results:
        np.testing.assert_array_equal(result.as_numpy("y"), VALUES * 2)
    assert refused.value.status() == "StatusCode.UNAUTHENTICATED"


def test_typed_contents_by_tritons_stubs(gate, token):
    """A request with typed contents, made of NVIDIA's generated code, is answered with typed contents."""
    request = service_pb2.ModelInferRequest(model_name="double")
    given = request.inputs.add(name="x", datatype="FP32", shape=[3])
    given.contents.fp32_contents.extend(VALUES.tolist())
    with gate.channel() as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, metadata=bearer(token), timeout=10)

    assert list(answer.outputs[0].contents.fp32_contents) == (VALUES * 2).tolist()
    assert not answer.raw_output_contents


def credentials(gate: Gate, token: str) -> Credentials:
    pki = gate.folder / "pki"
    return Credentials(ca=pki / "ca.pem", certificate=pki / "client.pem", key=pki / "client.key", token=token)


class Awaited:
    """An `AsyncClient` behind plain calls, each in the loop of this object: one test serves both clients."""

    def __init__(self, *arguments, **settings) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **settings)

    def __getattr__(self, name: str):
        method = getattr(self._client, name)
        return lambda *arguments, **settings: self._runner.run(method(*arguments, **settings))

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        self._runner.close()


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def ours(request, gate):
    """Make a client of ours, of either colour, with a token."""

    def make(token: str, **settings):
        return request.param(gate.target, credentials=credentials(gate, token), **settings)

    return make


def test_our_client(ours, token):
    """Everything that our client can ask, raw and typed, with the name of the trace of each answer."""
    with ours(token) as client:
        assert client.live()
        assert client.ready()
        assert client.ready("double")
        assert client.server_metadata().name == "guardhouse"
        assert client.metadata("double").inputs[0].name == "x"
        for raw in (True, False):
            result = client.infer("double", {"x": VALUES}, raw=raw)
            np.testing.assert_array_equal(result["y"], VALUES * 2)
            assert len(result.trace_id) == 32
        np.testing.assert_array_equal(client.infer("double", [1, 2])["y"], [2, 4])
        assert client.whoami().roles == ("analyst",)


def test_our_client_by_the_profile_of_init(gate):
    """The folder that `init` made is all a client needs; only the port is another here."""
    profile = gate.folder / "client.yaml"
    profile.write_text(profile.read_text().replace("127.0.0.1:8443", f"127.0.0.1:{gate.port}"))
    with Client.from_profile(gate.folder) as client:
        np.testing.assert_array_equal(client.infer("double", VALUES)["y"], VALUES * 2)


# What is asked -> the error's class, status and reason.
ERRORS = {
    "denied model": ("ghost", VALUES, PermissionDenied, "PERMISSION_DENIED", "MODEL_DENIED"),
    "another datatype": (
        "double",
        VALUES.astype(np.int32),
        InvalidArgument,
        "INVALID_ARGUMENT",
        "TENSOR_DATATYPE",
    ),
    "broken model": ("broken", VALUES, ServerError, "INTERNAL", "MODEL_FAILED"),
}


def recorded(gate: Gate, sink, error) -> None:
    """The ids of a refusal lead to its ledger line and to its span."""
    until(lambda: any(each["call"] == error.error_id for each in gate.ledger()))
    line = next(each for each in gate.ledger() if each["call"] == error.error_id)
    assert (line["trace"], line["status"], line["reason"]) == (error.trace_id, error.code.name, error.reason)
    until(lambda: error.trace_id in {span["trace_id"] for span in sink.spans})


@pytest.mark.parametrize("name", ERRORS)
def test_our_client_is_refused(gate, sink, ours, token, name):
    """Class, status, reason, error id and trace id of a refusal; by the ids the operator finds it."""
    model, values, kind, status, reason = ERRORS[name]
    with ours(token) as client, pytest.raises(kind) as refused:
        client.infer(model, {"x": values})

    error = refused.value
    assert (error.code.name, error.reason, error.retry_after) == (status, reason, None)
    recorded(gate, sink, error)


def test_our_client_without_a_good_token(gate, sink, ours):
    """A token that is not accepted is `Unauthenticated`, and is not tried again."""
    before = len(gate.ledger())
    with ours("garbage") as client, pytest.raises(Unauthenticated) as refused:
        client.infer("double", {"x": VALUES})

    assert refused.value.reason == "TOKEN_INVALID"
    recorded(gate, sink, refused.value)
    assert len(gate.ledger()) == before + 1


def test_our_client_over_the_rate(gate, sink, ours, trickle):
    """Over the rate, the client knows how long to wait; an hour is more than its deadline, so it gives up."""
    with ours(trickle) as client:
        calls = (client.infer("double", {"x": VALUES}) for _ in range(3))
        with pytest.raises(RateLimited) as refused:
            list(calls)

    error = refused.value
    assert error.reason == "RATE_LIMITED"
    assert 3000 < error.retry_after <= 3600
    recorded(gate, sink, error)


def test_our_client_comes_back_when_it_is_told(gate, ours):
    """A wait that is shorter than the deadline is kept, and then the call passes: the caller sees answers."""
    before = len(gate.ledger())
    with ours(gate.token("hasty")) as client:
        for _ in range(3):
            np.testing.assert_array_equal(client.infer("double", {"x": VALUES})["y"], VALUES * 2)

    def reasons() -> list[str]:
        return [str(line["reason"]) for line in gate.ledger()[before:]]

    until(lambda: reasons().count("") == 3)
    assert reasons().count("RATE_LIMITED") >= 2


def test_our_client_does_not_wait_for_ever(ours, token):
    """A deadline ends the call here, and its work there."""
    with ours(token) as client, pytest.raises(DeadlineExceeded):
        client.infer("patient", {"x": np.array([3600], np.float32)}, timeout=0.5)


def test_the_callers_trace_is_linked(gate, sink, ours, token):
    """The span of a call links the span in which the caller made it, and has a trace of its own."""
    theirs = trace.SpanContext(
        secrets.randbits(128) | 1, secrets.randbits(64) | 1, is_remote=False, trace_flags=trace.TraceFlags(1)
    )
    with ours(token) as client, trace.use_span(trace.NonRecordingSpan(theirs)):
        result = client.infer("double", {"x": VALUES})

    until(lambda: any(span["trace_id"] == result.trace_id for span in sink.spans))
    span = next(span for span in sink.spans if span["trace_id"] == result.trace_id)
    assert span["links"] == [f"{theirs.trace_id:032x}"]
    assert result.trace_id != f"{theirs.trace_id:032x}"
