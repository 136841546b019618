"""What a model declares, and the requests that fit it."""

from __future__ import annotations

from typing import Any

import pytest

from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.validation.signature import Signature, Tensor, check_signature
from guardhouse.protos import inference_pb2 as pb

DIGITS = Signature.of(
    inputs={"x0": ("FP32", [-1, 64]), "x1": ("INT64", [2])},
    outputs={"label": ("INT64", [-1]), "probabilities": ("FP32", [-1, 10])},
)


@pytest.mark.parametrize(
    ("tensors", "outputs", "reason"),
    [
        ([("FP32", [1, 64]), ("INT64", [2])], [], ""),
        ([("FP32", [0, 64]), ("INT64", [2])], ["label"], ""),
        ([("FP32", [9, 64]), ("INT64", [2])], ["probabilities", "label"], ""),
        ([("FP64", [1, 64]), ("INT64", [2])], [], "TENSOR_DATATYPE"),
        ([("FP32", [1, 63]), ("INT64", [2])], [], "TENSOR_SHAPE"),
        ([("FP32", [64]), ("INT64", [2])], [], "TENSOR_SHAPE"),
        ([("FP32", [1, 1, 64]), ("INT64", [2])], [], "TENSOR_SHAPE"),
        ([("FP32", [1, 64]), ("INT64", [3])], [], "TENSOR_SHAPE"),
        ([("FP32", [1, 64])], [], "TENSOR_COUNT"),
        ([("FP32", [1, 64]), ("INT64", [2]), ("FP32", [1])], [], "TENSOR_UNKNOWN"),
        ([("FP32", [1, 64]), ("INT64", [2])], ["label", "logits"], "TENSOR_UNKNOWN"),
    ],
)
def test_a_request_fits_the_model_or_is_refused(
    tensors: list[tuple[str, list[int]]], outputs: list[str], reason: str
) -> None:
    """Names, datatypes and shapes are the declared ones, no input is missing, and -1 takes any size."""
    request = pb.ModelInferRequest(model_name="digits")
    for position, (datatype, shape) in enumerate(tensors):
        request.inputs.add(name=f"x{position}", datatype=datatype, shape=shape)
    for name in outputs:
        request.outputs.add(name=name)

    if not reason:
        check_signature(request, DIGITS)
        return
    with pytest.raises(Refusal) as caught:
        check_signature(request, DIGITS)
    assert caught.value.reason == reason
    assert "x0" not in caught.value.words


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "needs inputs"),
        ({"": ("FP32", [1])}, "1 to 256 printable"),
        ({"a\n": ("FP32", [1])}, "1 to 256 printable"),
        ({"a": ("float32", [1])}, "want a datatype of BOOL"),
        ({"a": ("FP32", [-2])}, "want whole numbers"),
        ({"a": ("FP32", [1.5])}, "want whole numbers"),
        ({"a": ("FP32", [None])}, "want whole numbers"),
    ],
)
def test_a_signature_no_tensor_can_have_is_an_error_of_one_line(inputs: Any, said: str) -> None:
    """Mistakes in a declaration are found where it is written, and say what is wanted."""
    with pytest.raises(ValueError, match=said) as caught:
        Signature.of(inputs=inputs, outputs={"y": ("FP32", [1])})
    assert "\n" not in str(caught.value)


def test_a_signature_names_each_tensor_once() -> None:
    """Two inputs of one name could not be told apart."""
    tensor = Tensor("a", "FP32", (1,))

    with pytest.raises(ValueError, match="twice"):
        Signature((tensor, tensor), (tensor,))
