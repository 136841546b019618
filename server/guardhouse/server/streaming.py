"""`ModelStreamInfer`: many questions on one open call, and to each as many answers as its model gives.

As Triton's, by its protocol: a question that fails is answered by a message, and the stream goes on; a caller
who sends `triton_grpc_error: true` wants the stream to end with a status instead. What the guards refuse ends
the stream in any case.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import Final

from guardhouse.interceptors.call import CURRENT, Metadata
from guardhouse.interceptors.chain import failed
from guardhouse.interceptors.refusal import Refusal
from guardhouse.protos import inference_pb2 as pb

FINAL: Final = "triton_final_response"  # a response parameter: whether it is the last to its question
EMPTY_FINAL: Final = (
    "triton_enable_empty_final_response"  # a request parameter: an end without an answer, too
)
STATUS: Final = ("triton_grpc_error", "true")  # request metadata: a question that fails ends the stream

Responses = Callable[[pb.ModelInferRequest], AsyncGenerator[pb.ModelInferResponse, None]]


async def answered(
    requests: AsyncIterable[pb.ModelInferRequest], responses: Responses, metadata: Metadata
) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
    """The messages of the answering stream, question after question.

    Args:
        requests: The questions.
        responses: The answers of a model to one; may raise anything.
        metadata: The call's own.

    Raises:
        Exception: What failed, where the caller wants a status.
    """
    ends = STATUS in metadata
    async for request in requests:
        async with aclosing(responses(request)) as given:
            try:
                async for response in given:
                    yield pb.ModelStreamInferResponse(infer_response=response)
            except Exception as error:
                if ends:
                    raise
                yield _mistake(request, error)


def marked(response: pb.ModelInferResponse, *, last: bool) -> pb.ModelInferResponse:
    """*response*, and in it whether it is known to be the last to its question."""
    response.parameters[FINAL].bool_param = last
    return response


def _mistake(request: pb.ModelInferRequest, error: Exception) -> pb.ModelStreamInferResponse:
    """What the caller hears of a question that failed: its id, a reason, and words of ours."""
    call = CURRENT.get(None)
    if isinstance(error, Refusal):
        refusal = error
    else:
        refusal = failed(call, error) if call is not None else Refusal("MODEL_FAILED")
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version, id=request.id
    )
    return pb.ModelStreamInferResponse(
        error_message=f"{refusal.reason}: {refusal.words}", infer_response=marked(response, last=True)
    )
