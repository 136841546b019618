"""The work that every measured server does: give one FP32 tensor back. As a model, and as a bare handler."""

from __future__ import annotations

from typing import Any

import grpc

from guardhouse.protos import inference_pb2 as pb
from guardhouse.server import model

INFER = "/inference.GRPCInferenceService/ModelInfer"


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
async def echo(x: Any) -> Any:
    """The tensor itself."""
    return x


async def infer(request: pb.ModelInferRequest, _context: Any) -> pb.ModelInferResponse:
    """The same on the messages, as one would write it without a serving wrapper."""
    answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
    answer.raw_output_contents.append(request.raw_input_contents[0])
    return answer


def handler() -> Any:
    """`infer` as grpc wants it."""
    return grpc.unary_unary_rpc_method_handler(
        infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
