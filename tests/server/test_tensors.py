"""Arrays survive the way into a message and out of it, in both forms."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from guardhouse.interceptors.validation import check_request
from guardhouse.interceptors.validation.datatypes import DATATYPES
from guardhouse.interceptors.validation.signature import Tensor
from guardhouse.protos import inference_pb2 as pb
from guardhouse.server.tensors import decode, encode, parameters

KINDS = list(DATATYPES.values())
TYPED = [kind for kind in KINDS if kind.field]


def array_of(kind: Any, shape: tuple[int, ...] = (2, 3)) -> Any:
    """An array with the extremes of *kind* in it."""
    if kind.name == "BYTES":
        flat = np.empty(int(np.prod(shape)), object)
        flat[:] = [b"", b"one", b"\xff\x00", b"x" * 300, "é".encode(), b"\n"][: len(flat)]
        return flat.reshape(shape)
    dtype = np.dtype(kind.numpy)
    limits = np.finfo(dtype) if dtype.kind == "f" else None
    low, high = (limits.min, limits.max) if limits else (0, 1)
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.array([low, high, 0, 1, low, high], dtype).reshape(shape)


def answer(kind: Any, array: Any, *, raw: bool) -> Any:
    """The response that carries *array* as output `y`."""
    response = pb.ModelInferResponse()
    encode(response, [(Tensor("y", kind.name, (-1,) * array.ndim), array)], raw=raw)
    return pb.ModelInferResponse.FromString(response.SerializeToString())


def sent_back(response: Any) -> Any:
    """A request whose inputs are the outputs of *response*, as a client that echoes them would send."""
    request = pb.ModelInferRequest(model_name="echo", raw_input_contents=response.raw_output_contents)
    for output in response.outputs:
        request.inputs.add().MergeFromString(output.SerializeToString())
    return request


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_datatype_goes_out_and_comes_back(kind: Any, raw: bool) -> None:
    """What is encoded passes validation as a request and decodes to the same dtype, shape and values."""
    array = array_of(kind)
    request = sent_back(answer(kind, array, raw=raw))

    check_request(request)
    back = decode(request)["y"]

    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_empty_tensors_keep_their_shape(kind: Any, shape: tuple[int, ...], raw: bool) -> None:
    """A tensor without elements is not a missing one."""
    request = sent_back(answer(kind, np.empty(shape, kind.numpy), raw=raw))

    check_request(request)
    assert decode(request)["y"].shape == shape


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_a_scalar_has_no_dimensions(raw: bool) -> None:
    """The shape [] is one element."""
    request = sent_back(answer(DATATYPES["FP32"], np.asarray(np.float32(1.5)), raw=raw))

    check_request(request)
    back = decode(request)["y"]

    assert (back.shape, back.item()) == ((), 1.5)


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.name)
def test_an_answer_has_the_form_of_the_question(kind: Any) -> None:
    """A raw question gets raw contents and a typed one typed contents, never both."""
    raw, typed = answer(kind, array_of(kind), raw=True), answer(kind, array_of(kind), raw=False)

    assert len(raw.raw_output_contents) == 1
    assert not raw.outputs[0].HasField("contents")
    assert not typed.raw_output_contents
    assert [field.name for field, _ in typed.outputs[0].contents.ListFields()] == [kind.field]


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_what_has_no_typed_form_makes_the_whole_answer_raw(name: str) -> None:
    """FP16 and BF16 travel raw only, and the protocol has no mixture, so the others follow."""
    half, whole = array_of(DATATYPES[name]), array_of(DATATYPES["FP32"])
    response = pb.ModelInferResponse()
    shape = (-1, -1)
    encode(response, [(Tensor("a", "FP32", shape), whole), (Tensor("b", name, shape), half)], raw=False)

    assert list(response.raw_output_contents) == [whole.tobytes(), half.tobytes()]
    assert not any(output.HasField("contents") for output in response.outputs)


def test_raw_contents_are_little_endian_and_row_major() -> None:
    """Whatever the memory layout of the model's array, the wire has the protocol's."""
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))

    assert answer(DATATYPES["INT32"], array, raw=True).raw_output_contents[0] == struct.pack("<6i", *range(6))


def test_raw_tensors_are_views_of_the_bytes_received() -> None:
    """Raw contents are not copied, and so a model cannot write to them."""
    request = sent_back(answer(DATATYPES["FP32"], np.ones(4, np.float32), raw=True))
    array = decode(request)["y"]

    assert not array.flags.owndata
    assert not array.flags.writeable


def test_any_byte_but_zero_is_a_raw_true() -> None:
    """A BOOL byte of 2 or 255 becomes a proper True, which in memory is 1."""
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"\x00\x01\x02\xff"])
    request.inputs.add(name="y", datatype="BOOL", shape=[4])
    array = decode(request)["y"]

    assert array.dtype == np.bool_
    assert array.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_each_input_gets_its_own_contents() -> None:
    """Raw contents belong to the inputs in their order, whatever the inputs are called."""
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"\x01", b"\x02\x03"])
    request.inputs.add(name="z", datatype="UINT8", shape=[1])
    request.inputs.add(name="a", datatype="UINT8", shape=[2])

    assert {name: array.tolist() for name, array in decode(request).items()} == {"z": [1], "a": [2, 3]}


def test_bf16_is_its_bits() -> None:
    """BF16 is handed on as uint16; shifted up sixteen bits it is the same number in FP32."""
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[struct.pack("<2H", 0x3FC0, 0xC000)])
    request.inputs.add(name="y", datatype="BF16", shape=[2])
    bits = decode(request)["y"]

    assert bits.dtype == np.uint16
    assert (bits.astype(np.uint32) << 16).view(np.float32).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "array", [np.array(["é", "b"]), np.array(["é", "b"], object), np.array(["é".encode(), b"b"])], ids=str
)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_models_may_answer_bytes_with_text(array: Any, raw: bool) -> None:
    """Text of any numpy kind leaves as UTF-8."""
    back = decode(sent_back(answer(DATATYPES["BYTES"], array, raw=raw)))["y"]

    assert back.tolist() == ["é".encode(), b"b"]


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_objects_that_are_no_bytes_do_not_leave(raw: bool) -> None:
    """An object array of something else is the model's mistake; its `repr` is never sent."""
    with pytest.raises(TypeError, match="want bytes or str"):
        answer(DATATYPES["BYTES"], np.array([b"a", 7], object), raw=raw)


def test_parameters_become_plain_values() -> None:
    """Each kind of parameter arrives as the Python value of its kind."""
    choices: dict[str, Any] = {
        "a": {"bool_param": True},
        "b": {"int64_param": -1},
        "c": {"string_param": "x"},
    }
    choices |= {"d": {"double_param": 0.5}, "e": {"uint64_param": 2**63}}
    sent = pb.ModelInferRequest(
        parameters={key: pb.InferParameter(**value) for key, value in choices.items()}
    )

    assert parameters(sent.parameters) == {"a": True, "b": -1, "c": "x", "d": 0.5, "e": 2**63}


numeric = [kind for kind in KINDS if kind.size and kind.name != "BF16"]


@given(st.data())
def test_any_array_comes_back_the_same(data: st.DataObject) -> None:
    """Arrays of any numeric datatype, shape and value return bit for bit, NaN included."""
    kind = data.draw(st.sampled_from(numeric))
    raw = data.draw(st.booleans())
    array = data.draw(arrays.arrays(np.dtype(kind.numpy), arrays.array_shapes(min_dims=0, min_side=0)))
    request = sent_back(answer(kind, array, raw=raw))

    check_request(request)
    back = decode(request)["y"]

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.binary(max_size=9), max_size=9), st.booleans())
def test_any_bytes_come_back_the_same(elements: list[bytes], raw: bool) -> None:
    """BYTES of any content, the empty one included, return as they were."""
    array = np.empty(len(elements), object)
    array[:] = elements
    request = sent_back(answer(DATATYPES["BYTES"], array, raw=raw))

    check_request(request)
    assert decode(request)["y"].tolist() == elements
