"""A real server over mutual TLS, and both colours of the client behind one function."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from guardhouse.clients import AsyncClient, Client
from guardhouse.clients.testing import TRACE_ID, Server, refuse, serve
from guardhouse.protos import guardhouse_pb2
from guardhouse.protos import inference_pb2 as pb

Ask = Callable[..., Any]


def echo(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """Answer with the inputs."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for tensor in request.inputs:
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        output.contents.CopyFrom(tensor.contents)
    response.raw_output_contents.extend(request.raw_input_contents)
    for key, value in request.parameters.items():
        response.parameters[key].CopyFrom(value)
    return response


def wait_for_the_end(context: grpc.ServicerContext) -> bool:
    """Wait until the caller has left or its deadline has passed; tell whether it did."""
    ended = threading.Event()
    return not context.add_callback(ended.set) or ended.wait(20)


def infer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> Message:
    """Echo, or refuse as the model's name says."""
    match request.model_name:
        case "busy":
            refuse(
                context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many calls", retry_after=0.5
            )
        case "unknown":
            refuse(context, grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "no such model or version")
        case "picky":
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "TENSOR_SHAPE", "a tensor has the wrong shape")
        case "slow":
            wait_for_the_end(context)
    return echo(request)


def model_metadata(request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
    """Declare one FP32 image as input; two inputs for the model "pair"."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    inputs = [tensor(name="image", datatype="FP32", shape=[-1, 4])]
    if request.name == "pair":
        inputs.append(tensor(name="weight", datatype="INT32", shape=[1]))
    outputs = [tensor(name="label", datatype="INT64", shape=[-1])]
    return pb.ModelMetadataResponse(
        name=request.name, versions=["1"], platform="test", inputs=inputs, outputs=outputs
    )


LIMIT = guardhouse_pb2.Limit(
    scope="notebook", kind="rate", limit=100, burst=200, remaining=199, reset_seconds=0.5
)
ANSWERS: dict[str, Callable[[Any], Message]] = {
    "ModelMetadata": model_metadata,
    "ModelReady": lambda request: pb.ModelReadyResponse(ready=request.name != "loading"),
    "ServerReady": lambda request: pb.ServerReadyResponse(ready=True),
    "ServerLive": lambda request: pb.ServerLiveResponse(live=True),
    "ServerMetadata": lambda request: pb.ServerMetadataResponse(name="test", version="2", extensions=["one"]),
    "WhoAmI": lambda request: guardhouse_pb2.WhoAmIResponse(
        subject="notebook",
        roles=["analyst"],
        proofs=["mtls", "jwt"],
        limits=[LIMIT],
        expires_unix_seconds=2000000000,
    ),
}


def answer(method: str, request: Any, context: grpc.ServicerContext) -> Message:
    """Answer like a small Guardhouse server."""
    context.set_trailing_metadata((("guardhouse-trace-id", TRACE_ID),))
    return infer(request, context) if method == "ModelInfer" else ANSWERS[method](request)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server over mutual TLS, and a profile of a client that it takes."""
    with serve(tmp_path, answer) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a function with a client, `ask(profile, lambda client: ..., **settings)`, in either colour."""
    return ask_sync if request.param == "sync" else ask_async


def ask_sync(profile: Path, call: Callable[[Any], Any], **settings: Any) -> Any:
    """Give the function a `Client`, and return what it returns."""
    with Client.from_profile(profile, **settings) as client:
        return call(client)


def ask_async(profile: Path, call: Callable[[Any], Awaitable[Any]], **settings: Any) -> Any:
    """Give the function an `AsyncClient`, and return what its coroutine returns."""

    async def run() -> Any:
        async with AsyncClient.from_profile(profile, **settings) as client:
            return await call(client)

    return asyncio.run(run())


@pytest.fixture
def image() -> np.ndarray[Any, Any]:
    """A picture of four pixels."""
    return np.arange(4, dtype=np.float32).reshape(1, 4)
