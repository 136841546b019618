"""Every rule of the protocol for a request, at its edge and one step past it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from grpc import StatusCode

from guardhouse.interceptors.refusal import REASONS, Refusal
from guardhouse.interceptors.validation import (
    MOST_DIMENSIONS,
    MOST_ELEMENTS,
    MOST_TENSORS,
    check_request,
)
from guardhouse.interceptors.validation.datatypes import DATATYPES
from guardhouse.protos import inference_pb2 as pb

SERVICE = "/inference.GRPCInferenceService"
FIXED = [kind for kind in DATATYPES.values() if kind.size]
TYPED = [kind for kind in DATATYPES.values() if kind.field]
FIELDS = sorted({kind.field for kind in TYPED})


def bytes_of(*elements: bytes) -> bytes:
    """A raw BYTES tensor of *elements*."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def ask(*tensors: tuple[str, list[int]], raws: list[bytes] | None = None, **fields: Any) -> Any:
    """A request with inputs `x0`, `x1`… of the given datatypes and shapes."""
    request = pb.ModelInferRequest(**{"model_name": "digits", **fields})
    for position, (datatype, shape) in enumerate(tensors):
        request.inputs.add(name=f"x{position}", datatype=datatype, shape=shape)
    request.raw_input_contents.extend(raws or [])
    return request


def typed(datatype: str, shape: list[int], field: str, values: list[Any]) -> Any:
    """A request with one typed input."""
    request = ask((datatype, shape))
    getattr(request.inputs[0].contents, field).extend(values)
    return request


def sample_values(field: str, count: int) -> list[Any]:
    """*count* values that *field* can hold, within the range of every datatype that uses it."""
    return [b"\xff"] * count if field == "bytes_contents" else [1] * count


def reason_of(request: Any) -> str:
    """Why *request* is refused; "" where it passes. Whatever is refused is refused with INVALID_ARGUMENT."""
    try:
        check_request(request)
    except Refusal as caught:
        refusal = caught
    else:
        return ""
    assert refusal.code is StatusCode.INVALID_ARGUMENT
    assert refusal.words.startswith(REASONS[refusal.reason].words)
    return refusal.reason


@pytest.mark.parametrize("kind", FIXED, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("extra", "reason"), [(0, ""), (-1, "TENSOR_CONTENTS"), (1, "TENSOR_CONTENTS")], ids=str
)
def test_raw_contents_are_as_long_as_the_shape_says(kind: Any, extra: int, reason: str) -> None:
    """Raw contents of every fixed-size datatype pass at the exact length and not at one byte off."""
    request = ask((kind.name, [2, 3]), raws=[bytes(6 * kind.size + extra)])

    assert reason_of(request) == reason


@pytest.mark.parametrize("kind", FIXED, ids=lambda kind: kind.name)
@pytest.mark.parametrize("elements", [5, 7])
def test_raw_contents_of_one_element_more_or_less_are_refused(kind: Any, elements: int) -> None:
    """Whole elements too few or too many are as wrong as a single byte."""
    assert reason_of(ask((kind.name, [2, 3]), raws=[bytes(elements * kind.size)])) == "TENSOR_CONTENTS"


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("count", "reason"), [(6, ""), (5, "TENSOR_CONTENTS"), (7, "TENSOR_CONTENTS")])
def test_typed_contents_have_as_many_elements_as_the_shape(kind: Any, count: int, reason: str) -> None:
    """Typed contents of every datatype pass at the exact count and not at one element off."""
    request = typed(kind.name, [2, 3], kind.field, sample_values(kind.field, count))

    assert reason_of(request) == reason


@pytest.mark.parametrize("kind", list(DATATYPES.values()), ids=lambda kind: kind.name)
@pytest.mark.parametrize("field", FIELDS)
def test_typed_contents_travel_in_the_datatype_s_own_field(kind: Any, field: str) -> None:
    """Of the eight typed fields each datatype takes exactly one; FP16 and BF16 take none."""
    request = typed(kind.name, [2], field, sample_values(field, 2))

    assert reason_of(request) == ("" if field == kind.field else "TENSOR_CONTENTS")


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.name)
def test_a_second_typed_field_is_refused(kind: Any) -> None:
    """The right field does not excuse another one beside it."""
    request = typed(kind.name, [2], kind.field, sample_values(kind.field, 2))
    other = next(field for field in FIELDS if field != kind.field)
    getattr(request.inputs[0].contents, other).extend(sample_values(other, 1))

    assert reason_of(request) == "TENSOR_CONTENTS"


@pytest.mark.parametrize("kind", [kind for kind in TYPED if kind.span], ids=lambda kind: kind.name)
def test_typed_values_keep_to_the_range_of_their_datatype(kind: Any) -> None:
    """Narrow integers share wide fields: their smallest and largest values pass, one beyond does not."""
    low, high = kind.span
    wide = [value for value in (low - 1, high + 1) if value >= 0 or kind.field == "int_contents"]

    assert reason_of(typed(kind.name, [2], kind.field, [low, high])) == ""
    assert [reason_of(typed(kind.name, [2], kind.field, [0, value])) for value in wide] == [
        "TENSOR_CONTENTS"
    ] * len(wide)


def test_no_contents_at_all_are_refused_unless_the_tensor_is_empty() -> None:
    """Neither raw nor typed contents: right for a tensor without elements only."""
    assert [reason_of(ask((name, [2]))) for name in DATATYPES] == ["TENSOR_CONTENTS"] * len(DATATYPES)
    assert [reason_of(ask((name, [0, 2]))) for name in DATATYPES] == [""] * len(DATATYPES)


def test_raw_and_typed_contents_exclude_each_other_over_the_whole_request() -> None:
    """One input raw and another typed is refused, whichever comes first; so is one input with both."""
    for carrier in (0, 1):
        request = ask(("FP32", [1]), ("FP32", [1]), raws=[bytes(4), bytes(4)])
        request.inputs[carrier].contents.fp32_contents.append(1)
        assert reason_of(request) == "TENSOR_CONTENTS"


def test_present_but_empty_typed_contents_beside_raw_ones_pass() -> None:
    """Some clients touch `contents` without filling it; that says nothing twice."""
    request = ask(("FP32", [1]), raws=[bytes(4)])
    request.inputs[0].contents.SetInParent()

    assert reason_of(request) == ""


@pytest.mark.parametrize("raws", [1, 3, 1000])
def test_there_is_one_raw_entry_for_each_input(raws: int) -> None:
    """Raw entries too few or too many for the inputs are refused."""
    request = ask(("FP32", [1]), ("FP32", [1]), raws=[bytes(4)] * raws)

    assert reason_of(request) == "TENSOR_CONTENTS"


@pytest.mark.parametrize(
    ("shape", "raw", "reason"),
    [
        ([], bytes_of(b"one"), ""),
        ([2], bytes_of(b"one", b""), ""),
        ([0], b"", ""),
        ([2], bytes_of(b"one", b"two") + b"\0", "TENSOR_CONTENTS"),
        ([2], bytes_of(b"one", b"two")[:-1], "TENSOR_CONTENTS"),
        ([1], bytes_of(b"one", b"two"), "TENSOR_CONTENTS"),
        ([3], bytes_of(b"one", b"two"), "TENSOR_CONTENTS"),
        ([2], bytes_of(b"a length that fills the rest"), "TENSOR_CONTENTS"),
        ([1], b"\xff\xff\xff\xff", "TENSOR_CONTENTS"),
        ([1], b"\xff\xff\xff\xffabc", "TENSOR_CONTENTS"),
        ([2], b"\x05\0\0\0abcd\0\0\0\0", "TENSOR_CONTENTS"),
        ([1], b"\0\0\0\x04abcd", "TENSOR_CONTENTS"),  # big-endian
        ([1], b"\0\0\0", "TENSOR_CONTENTS"),
        ([1], b"", "TENSOR_CONTENTS"),
        ([0], b"\0\0\0\0", "TENSOR_CONTENTS"),
        ([2**31], b"\0\0\0\0", "TENSOR_CONTENTS"),
    ],
)
def test_lengths_in_raw_bytes_lead_exactly_to_the_end(shape: list[int], raw: bytes, reason: str) -> None:
    """Lying length prefixes in BYTES are refused: too long, too short, too many, too few, cut, reversed."""
    assert reason_of(ask(("BYTES", shape), raws=[raw])) == reason


@pytest.mark.parametrize(
    "shape",
    [
        [-1],
        [2, -1],
        [-(2**63)],
        [0, -1],
        [MOST_ELEMENTS + 1],
        [2**62],
        [2**63 - 1],
        [2**32, 2**32],  # 0 in 64 bits
        [2**61, 8],
        [0, 2**62],
        [2**62, 0],
        [2**16, 0, 2**16],  # 2**32 for whoever multiplies all but the 0
        [1] * (MOST_DIMENSIONS + 1),
        [1] * 10_000,
        [0] * 10_000,
    ],
    ids=lambda shape: str(shape)[:30],
)
@pytest.mark.parametrize("form", ["raw", "typed"])
def test_shapes_that_cannot_be_are_refused(shape: list[int], form: str) -> None:
    """Negative, overflowing, huge and many-dimensional shapes are refused before a size is made of them."""
    assert reason_of(ask(("INT8", shape), raws=[b""] if form == "raw" else None)) == "TENSOR_SHAPE"


@pytest.mark.parametrize("shape", [[], [1], [1] * MOST_DIMENSIONS, [1, 1, 1]], ids=str)
def test_any_shape_of_one_element_passes(shape: list[int]) -> None:
    """A scalar, and up to 32 dimensions of 1, are one element."""
    assert reason_of(ask(("FP32", shape), raws=[bytes(4)])) == ""


def test_the_largest_shape_is_judged_by_what_was_sent() -> None:
    """A shape at the cap is a matter of contents, not of shape: nothing of its size is allocated."""
    assert reason_of(ask(("FP64", [MOST_ELEMENTS]), raws=[bytes(8)])) == "TENSOR_CONTENTS"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [(0, "TENSOR_COUNT"), (1, ""), (MOST_TENSORS, ""), (MOST_TENSORS + 1, "TENSOR_COUNT")],
)
def test_inputs_are_counted(inputs: int, reason: str) -> None:
    """At least one input and at most 256."""
    assert reason_of(ask(*[("FP32", [1])] * inputs, raws=[bytes(4)] * inputs)) == reason


def test_a_hundred_thousand_inputs_are_refused_unread() -> None:
    """Very many inputs are refused for their number: the first malformed one is never looked at."""
    request = ask(*[("NONSENSE", [-1])] * 100_000)

    assert reason_of(request) == "TENSOR_COUNT"


@pytest.mark.parametrize(
    ("outputs", "reason"), [(0, ""), (MOST_TENSORS, ""), (MOST_TENSORS + 1, "TENSOR_COUNT")]
)
def test_requested_outputs_are_counted(outputs: int, reason: str) -> None:
    """None need be asked for, and at most 256 may be."""
    request = ask(("FP32", [1]), raws=[bytes(4)])
    for position in range(outputs):
        request.outputs.add(name=f"y{position}")

    assert reason_of(request) == reason


def test_a_name_used_twice_is_refused() -> None:
    """Two inputs, or two requested outputs, of one name are refused; an input may share an output's."""
    twice_in = ask(("FP32", [1]), ("FP32", [1]), raws=[bytes(4)] * 2)
    twice_in.inputs[1].name = "x0"
    twice_out = ask(("FP32", [1]), raws=[bytes(4)])
    twice_out.outputs.add(name="y")
    twice_out.outputs.add(name="y")
    shared = ask(("FP32", [1]), raws=[bytes(4)])
    shared.outputs.add(name="x0")

    assert [reason_of(twice_in), reason_of(twice_out), reason_of(shared)] == [
        "TENSOR_DUPLICATE",
        "TENSOR_DUPLICATE",
        "",
    ]


@pytest.mark.parametrize("datatype", ["", "fp32", "FP32 ", "FP128", "STRING", "TYPE_FP32", "x" * 70_000])
def test_unknown_datatypes_are_refused(datatype: str) -> None:
    """Datatypes are the fourteen of the protocol, written as there."""
    assert reason_of(ask((datatype, [1]), raws=[bytes(4)])) == "TENSOR_DATATYPE"
