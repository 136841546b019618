"""Tensors to the wire and back: every datatype, every shape, and answers that contradict themselves."""

import struct
import tracemalloc

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.clients import ServerError, messages, tensors
from guardhouse.clients.datatypes import (
    DTYPES,
    TYPED_FIELDS,
    Array,
    MalformedTensor,
    TensorError,
    datatype_of,
)
from guardhouse.clients.messages import Result, infer_request
from guardhouse.protos import inference_pb2 as pb

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ELEMENTS = st.binary(max_size=9) | st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def numeric(draw: st.DrawFn, datatypes: list[str]) -> Array:
    """An array of one of the datatypes, little-endian or big-endian, contiguous or not."""
    dtype = DTYPES[draw(st.sampled_from(datatypes))]
    array: Array = draw(arrays.arrays(dtype.newbyteorder(draw(st.sampled_from("<>"))), draw(SHAPES)))
    return array.T if draw(st.booleans()) else array


def there_and_back(array: Array, *, raw: bool) -> Array:
    """Send the array through a request's bytes, and back in an answer's."""
    request = pb.ModelInferRequest.FromString(infer_request("m", {"x": array}, raw=raw).SerializeToString())
    response = pb.ModelInferResponse(raw_output_contents=request.raw_input_contents)
    tensor = request.inputs[0]
    output = response.outputs.add(name="x", datatype=tensor.datatype, shape=tensor.shape)
    output.contents.CopyFrom(tensor.contents)
    return Result(pb.ModelInferResponse.FromString(response.SerializeToString()))["x"]


def assert_same(back: Array, array: Array) -> None:
    assert (back.shape, back.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(back, array)


@given(numeric(list(DTYPES)))
def test_every_array_survives_raw(array: Array) -> None:
    """Any numeric array comes back with its shape, dtype and values, whatever its memory layout."""
    assert_same(there_and_back(array, raw=True), array)


@given(numeric(sorted(TYPED_FIELDS.keys() - {"BYTES"})))
def test_every_array_survives_typed(array: Array) -> None:
    """The same holds in the typed form, for the datatypes that have one."""
    assert_same(there_and_back(array, raw=False), array)


@given(arrays.arrays(object, SHAPES, elements=ELEMENTS), st.booleans())
def test_text_and_bytes_survive(array: Array, raw: bool) -> None:
    """An array of str and bytes comes back as bytes, str in UTF-8, in both forms."""
    back = there_and_back(array, raw=raw)
    wanted = [each.encode() if isinstance(each, str) else each for each in array.ravel()]
    assert (back.shape, list(back.ravel())) == (array.shape, wanted)


def test_numpys_own_strings_are_bytes() -> None:
    """Arrays of dtype U and S are sent as BYTES."""
    assert list(there_and_back(np.array(["ä", "b"]), raw=True)) == ["ä".encode(), b"b"]
    assert list(there_and_back(np.array([b"a", b"bc"]), raw=True)) == [b"a", b"bc"]


def test_half_precision_has_no_typed_form() -> None:
    """FP16 typed is refused before anything is sent, with the name of the input."""
    with pytest.raises(TensorError, match=r"input 'x': FP16 has no typed form: send it raw"):
        infer_request("m", {"x": np.array([1], np.float16)}, raw=False)


def test_bfloat16_is_widened_exactly() -> None:
    """A BF16 answer becomes float32 of the same values, special ones included."""
    exact = np.array([1.5, -0.0, np.inf, 3.0e38], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype("<u2")
    widened = tensors.from_raw("BF16", (4,), halves.tobytes())
    assert widened.dtype == np.float32
    np.testing.assert_array_equal(widened.view(np.uint32) >> 16, halves)


def test_a_bfloat16_array_is_sent_as_it_is() -> None:
    """An array of ml_dtypes' bfloat16 goes as BF16, two bytes each."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.0, -2.0], ml_dtypes.bfloat16)
    assert (datatype_of(array), len(tensors.to_raw(array))) == ("BF16", 4)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "f4,i4"])
def test_a_dtype_without_a_datatype_is_refused(dtype: str) -> None:
    """What the protocol has no datatype for is refused by name."""
    with pytest.raises(TensorError, match="has no datatype in the protocol"):
        datatype_of(np.zeros(1, dtype))


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    """A lone surrogate is refused with its position, in an element and in a name."""
    with pytest.raises(TensorError, match=r"input 'x': element 1 is no valid text"):
        infer_request("m", {"x": np.array(["a", "\ud800"], object)})
    with pytest.raises(TensorError, match="is no text that UTF-8 can hold"):
        infer_request("\ud800", {})


def test_a_big_tensor_is_never_a_python_list() -> None:
    """Encoding and decoding 8 MB of floats takes a few copies of them, not the 64 MB of Python objects."""
    array = np.arange(2_000_000, dtype=np.float32)
    tracemalloc.start()
    back = there_and_back(array, raw=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(back, array)
    assert peak < 5 * array.nbytes


def test_an_answer_shares_its_memory() -> None:
    """A decoded raw tensor is a read-only view of the received bytes."""
    raw = bytes(8)
    array = tensors.from_raw("FP32", (2,), raw)
    assert not array.flags.writeable
    assert array.ctypes.data == np.frombuffer(raw, np.uint8).ctypes.data


LYING = {
    "too few bytes": ("FP32", (2,), bytes(4)),
    "too many bytes": ("FP32", (2,), bytes(12)),
    "negative dimension": ("FP32", (-1,), bytes(4)),
    "unknown datatype": ("FP7", (1,), bytes(1)),
    "empty, of impossible shape": ("UINT8", (0, 2**62, 2**62), b""),
    "more dimensions than numpy has": ("UINT8", (1,) * 200, bytes(1)),
    "more texts than bytes": ("BYTES", (2**40,), bytes(8)),
    "text cut off": ("BYTES", (2,), struct.pack("<I", 4) + bytes(4)),
    "text longer than what is there": ("BYTES", (1,), struct.pack("<I", 2**32 - 1) + b"a"),
    "bytes after the last text": ("BYTES", (1,), struct.pack("<I", 1) + b"ab"),
}


@pytest.mark.parametrize("case", LYING)
def test_raw_contents_that_lie_are_refused(case: str) -> None:
    """Raw contents that shape and datatype contradict are refused, and no memory is taken on their word."""
    with pytest.raises(MalformedTensor):
        tensors.from_raw(*LYING[case])


@given(
    st.sampled_from([*DTYPES, "BF16", "BYTES"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.binary(max_size=40),
)
def test_no_raw_contents_crash_the_decoder(datatype: str, shape: list[int], raw: bytes) -> None:
    """Whatever the server sends is an array of the shape it claims, or refused."""
    try:
        array = tensors.from_raw(datatype, tuple(shape), raw)
    except MalformedTensor:
        return
    assert array.shape == tuple(shape)


@pytest.mark.parametrize(
    ("datatype", "shape", "contents"),
    [
        ("FP32", (2,), pb.InferTensorContents(fp32_contents=[1])),
        ("FP32", (1,), pb.InferTensorContents(int_contents=[1])),
        ("INT8", (1,), pb.InferTensorContents(int_contents=[300])),
        ("FP16", (1,), pb.InferTensorContents(bytes_contents=[b"ab"])),
    ],
)
def test_typed_contents_that_lie_are_refused(
    datatype: str, shape: tuple[int, ...], contents: pb.InferTensorContents
) -> None:
    """Typed contents of the wrong number, field or range are refused."""
    with pytest.raises(MalformedTensor):
        tensors.from_typed(datatype, shape, contents)


def test_an_answer_with_raw_contents_missing_is_a_server_error() -> None:
    """Two outputs with one raw content raise ServerError, with the trace to ask the operator about."""
    response = pb.ModelInferResponse(raw_output_contents=[bytes(4)])
    for name in ("a", "b"):
        response.outputs.add(name=name, datatype="FP32", shape=[1])
    with pytest.raises(ServerError, match="the server's answer is malformed: 1 raw contents for 2") as caught:
        messages.result(response, "ab" * 16)
    assert caught.value.trace_id == "ab" * 16


@pytest.mark.parametrize("value", [True, False, 0, -1, 2**63 - 1, 2**63, 2**64 - 1, 0.5, "text", ""])
def test_parameters_survive(value: messages.Parameter) -> None:
    """A parameter comes back as the same value of the same type."""
    back = messages.parameter_value(messages.parameter("p", value))
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(("value", "error"), [(None, TypeError), ([1], TypeError), (2**64, ValueError)])
def test_other_parameters_are_refused(value: object, error: type[Exception]) -> None:
    """A parameter of another type, or too large, is refused by name."""
    with pytest.raises(error, match="parameter 'p'"):
        messages.parameter("p", value)  # type: ignore[arg-type] # what the test is about
