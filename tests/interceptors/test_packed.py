"""Typed contents read in bulk are what asking for each element gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.validation.datatypes import DATATYPES
from guardhouse.interceptors.validation.packed import numbers
from guardhouse.protos import inference_pb2 as pb

VALUES: dict[str, Any] = {
    "BOOL": st.booleans(),
    "INT32": st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 300),
    "INT64": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300),
    "UINT32": st.integers(0, 2**32 - 1) | st.integers(0, 300),
    "UINT64": st.integers(0, 2**64 - 1) | st.integers(0, 300),
    "FP32": st.floats(width=32),
    "FP64": st.floats(),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_bulk_is_what_each_element_is(name: str, data: st.DataObject) -> None:
    """Any list of any number of values, of one varint byte or ten, reads the same both ways."""
    kind = DATATYPES[name]
    contents = pb.InferTensorContents()
    getattr(contents, kind.field).extend(data.draw(st.lists(VALUES[name], max_size=200)))

    read = numbers(contents, kind).astype(kind.numpy)

    np.testing.assert_array_equal(read, np.array(list(getattr(contents, kind.field)), kind.numpy))


@pytest.mark.parametrize("name", ["INT32", "INT64", "UINT32", "UINT64"])
def test_many_values_read_the_same_across_blocks(name: str) -> None:
    """Lists longer than one block read the same, wherever a block ends within a value."""
    kind = DATATYPES[name]
    span = np.iinfo(kind.numpy)
    array = np.random.default_rng(0).integers(span.min, span.max, 50_000, kind.numpy, endpoint=True)
    contents = pb.InferTensorContents()
    getattr(contents, kind.field).extend(array.tolist())

    np.testing.assert_array_equal(numbers(contents, kind).astype(kind.numpy), array)


def test_fields_of_a_later_protocol_do_not_confuse_the_reading() -> None:
    """Unknown fields before, after and in between leave the values as they are."""
    kind = DATATYPES["INT64"]
    unknown = b"\x7a\x02\x08\x01"  # field 15, two bytes
    known = pb.InferTensorContents(int64_contents=[1, -1, 300]).SerializeToString()

    for wire in (unknown + known, known + unknown, unknown + known + unknown + known):
        contents = pb.InferTensorContents.FromString(wire)
        assert numbers(contents, kind).tolist() == list(contents.int64_contents)


def test_a_library_that_writes_unknown_fields_first_is_read_the_long_way() -> None:
    """Where the field is not in front of the bytes, the elements are asked for one by one."""

    class UnknownFirst:
        """Contents as such a library would write them: a field of the right length, and then the values."""

        int64_contents = (1, -1, 300)
        DESCRIPTOR = pb.InferTensorContents.DESCRIPTOR

        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b"\x7a\x03\x05\x05\x05"

    assert numbers(UnknownFirst(), DATATYPES["INT64"]).tolist() == [1, -1, 300]


def test_values_sent_one_by_one_read_the_same() -> None:
    """A sender may leave a repeated field unpacked; it is the same field."""
    contents = pb.InferTensorContents.FromString(b"\x18\x01\x18\xac\x02\x1a\x01\x07")

    assert numbers(contents, DATATYPES["INT64"]).tolist() == [1, 300, 7]


def test_nothing_reads_as_nothing() -> None:
    """An empty field is an empty array of a dtype that fits."""
    assert [numbers(pb.InferTensorContents(), DATATYPES[name]).shape for name in VALUES] == [(0,)] * 7
