"""Any request at all, against the same rules in slow and plain words."""

from __future__ import annotations

import struct
from math import prod
from typing import Any

from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.validation import MOST_ELEMENTS, check_request
from guardhouse.interceptors.validation.datatypes import DATATYPES
from guardhouse.protos import inference_pb2 as pb


def bytes_of(*elements: bytes) -> bytes:
    """A raw BYTES tensor of *elements*."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def passes(request: Any) -> bool:
    """Whether *request* passes; what does not is refused with INVALID_ARGUMENT and nothing else."""
    try:
        check_request(request)
    except Refusal as refusal:
        code = refusal.code
    else:
        return True
    assert code is StatusCode.INVALID_ARGUMENT
    return False


numbers = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
texts = st.sampled_from(["x", "y", "digits", "", "a/b", "a\n", "triton_x"]) | st.text(max_size=6)
raw_bytes = st.binary(max_size=24) | st.lists(st.binary(max_size=3), max_size=3).map(
    lambda elements: bytes_of(*elements)
)
contents = st.builds(
    pb.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int_contents=st.lists(st.integers(-200, 70_000), max_size=3),
    uint_contents=st.lists(st.integers(0, 70_000), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=2),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
)
parameter_maps = st.dictionaries(
    texts, st.builds(pb.InferParameter, int64_param=st.integers(0, 9)), max_size=2
)


@st.composite
def tensors(draw: Any) -> Any:
    """An input with a likely head, and contents that may or may not be there."""
    tensor = pb.ModelInferRequest.InferInputTensor(
        name=draw(texts),
        datatype=draw(st.sampled_from([*DATATYPES, "FP8"])),
        shape=draw(st.lists(st.integers(0, 3), max_size=3) | st.lists(numbers, max_size=3)),
        parameters=draw(parameter_maps),
    )
    if draw(st.booleans()):
        tensor.contents.CopyFrom(draw(contents))
    return tensor


@st.composite
def requests(draw: Any) -> Any:
    """Any request, from hopeless to nearly right."""
    return pb.ModelInferRequest(
        model_name=draw(texts),
        model_version=draw(texts),
        id=draw(texts),
        parameters=draw(parameter_maps),
        inputs=draw(st.lists(tensors(), max_size=3)),
        raw_input_contents=draw(st.lists(raw_bytes, max_size=3)),
    )


@st.composite
def honest_raw(draw: Any) -> Any:
    """A raw request that is right, or was until one byte ago."""
    request = pb.ModelInferRequest(model_name="digits")
    for position in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(list(DATATYPES.values())))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        request.inputs.add(name=f"x{position}", datatype=kind.name, shape=shape)
        elements = draw(st.lists(st.binary(max_size=3), min_size=prod(shape), max_size=prod(shape)))
        raw = bytes(prod(shape) * kind.size) if kind.size else bytes_of(*elements)
        slip = draw(st.sampled_from([0, 0, 0, 1, -1]))
        request.raw_input_contents.append(raw[:-1] if slip < 0 else raw + bytes(slip))
    return request


@st.composite
def honest_typed(draw: Any) -> Any:
    """A typed request that is right, or has a value that may be out of range, or one too many."""
    kind = draw(st.sampled_from([kind for kind in DATATYPES.values() if kind.field]))
    shape = draw(st.lists(st.integers(1, 3), max_size=2))
    request = pb.ModelInferRequest(model_name="digits")
    tensor = request.inputs.add(name="x", datatype=kind.name, shape=shape)
    count = prod(shape) + draw(st.sampled_from([0, 0, 1]))
    value = draw(st.integers(0, 300) | st.integers(2**15 - 2, 2**16 + 2))
    values = [b"x"] * count if kind.name == "BYTES" else [value % 2 if kind.name == "BOOL" else value] * count
    getattr(tensor.contents, kind.field).extend(values)
    return request


def plainly_right(request: Any) -> bool:
    """The rules once more, in the slowest words, for requests as small as the ones made here."""
    raws = list(request.raw_input_contents)
    names = [tensor.name for tensor in request.inputs]
    return (
        all(good_name(name) for name in (request.model_name, request.model_version or "1"))
        and request.id.isprintable()
        and good_keys(request)
        and 1 <= len(names) == len(set(names))
        and (not raws or len(raws) == len(names))
        and all(
            right_tensor(tensor, raws[position] if raws else None)
            for position, tensor in enumerate(request.inputs)
        )
    )


def good_name(name: str) -> bool:
    """ASCII letters, digits and inner marks."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return name != "" and name[0] in letters and all(letter in letters + "._-" for letter in name)


def good_keys(holder: Any) -> bool:
    """No key is empty, unprintable, other than ASCII, or the server's."""
    return all(
        key and key.isprintable() and key.isascii() and not key.lower().startswith(("triton_", "guardhouse"))
        for key in holder.parameters
    )


def right_tensor(tensor: Any, raw: bytes | None) -> bool:
    """The tensor's head is in order, and its contents are what the head says."""
    kind = DATATYPES.get(tensor.datatype)
    if kind is None or not tensor.name or not tensor.name.isprintable() or not good_keys(tensor):
        return False
    bulk = prod(size for size in tensor.shape if size)
    if any(size < 0 for size in tensor.shape) or bulk > MOST_ELEMENTS:
        return False
    count = prod(tensor.shape)
    filled = {field.name: list(values) for field, values in tensor.contents.ListFields()}
    if raw is None:
        return right_typed(kind, count, filled)
    return not filled and (len(raw) == count * kind.size if kind.size else walk(raw) == count)


def right_typed(kind: Any, count: int, filled: dict[str, list[Any]]) -> bool:
    """Exactly the datatype's own field is filled, with *count* values in range."""
    if count == 0:
        return not filled
    low, high = kind.span or (None, None)
    return list(filled) == [kind.field] and (
        len(filled[kind.field]) == count
        and (low is None or all(low <= value <= high for value in filled[kind.field]))
    )


def walk(raw: bytes) -> int | None:
    """How many elements *raw* holds as BYTES; None where it holds none that end with it."""
    count = 0
    while raw:
        length = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 + length or len(raw) < 4:
            return None
        raw, count = raw[4 + length :], count + 1
    return count


@given(requests() | honest_raw() | honest_typed())
def test_any_request_passes_or_is_refused_as_the_plain_rules_say(request: Any) -> None:
    """No request makes the check raise anything but a refusal, and it never differs from the plain rules."""
    assert passes(request) == plainly_right(request)
