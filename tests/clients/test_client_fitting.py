"""Values to arrays of a declared datatype: what is converted, and what would lose something."""

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.clients.datatypes import DTYPES, TensorError
from guardhouse.clients.fitting import add_batch, as_array, fit, is_plain, survives

FITS: list[tuple[Any, str, Any]] = [
    ([1, 2], "FP32", np.array([1, 2], np.float32)),
    ([0.1], "FP32", np.array([0.1], np.float32)),
    ([2**24 + 1], "FP32", np.array([2**24], np.float32)),
    ([[1], [2]], "INT8", np.array([[1], [2]], np.int8)),
    ([2.0], "INT64", np.array([2], np.int64)),
    ([True, False], "BOOL", np.array([True, False])),
    ([1, 0], "BOOL", np.array([True, False])),
    (7, "UINT64", np.uint64(7)),
    ([1, 2**63 + 1], "UINT64", np.array([1, 2**63 + 1], np.uint64)),
    ([float("inf"), float("-inf")], "FP16", np.array([np.inf, -np.inf], np.float16)),
    ([], "FP32", np.array([], np.float32)),
    (np.array([0, 16], np.int64), "FP32", np.array([0, 16], np.float32)),
    (np.array([0.5, np.nan, np.inf], np.float64), "FP32", np.array([0.5, np.nan, np.inf], np.float32)),
    (np.array([1, 2], np.float32), "FP64", np.array([1, 2], np.float64)),
    (np.array([3, -4], np.float64), "INT8", np.array([3, -4], np.int8)),
    (np.array([True]), "FP32", np.array([1], np.float32)),
    (np.zeros((0, 3)), "UINT8", np.zeros((0, 3), np.uint8)),
]

LOSES: list[tuple[Any, str]] = [
    ([1.5], "INT64"),
    ([300], "UINT8"),
    ([-1], "UINT64"),
    ([float("nan")], "INT32"),
    ([float("inf")], "INT32"),
    ([2], "BOOL"),
    ([1e39], "FP32"),
    ([70000], "FP16"),
    (np.array([0.1], np.float64), "FP32"),
    (np.array([1e300], np.float64), "FP32"),
    (np.array([2**24 + 1], np.int64), "FP32"),
    (np.array([2**62 + 1], np.int64), "FP64"),
    (np.array([2**64 - 1], np.uint64), "FP64"),
    (np.array([-1], np.int64), "UINT8"),
    (np.array([np.nan], np.float32), "INT64"),
    (np.array([1e30], np.float64), "INT64"),
    (["text"], "FP32"),
    ([1], "BYTES"),
    (np.array([1], np.float32), "BF16"),
    ([1], "FP7"),
]


@pytest.mark.parametrize(("value", "datatype", "wanted"), FITS)
def test_values_that_fit_are_converted(value: Any, datatype: str, wanted: Any) -> None:
    """Plain numbers are rounded to a float datatype, and arrays converted where every value survives."""
    found = fit("x", value, datatype)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("value", "datatype"), LOSES)
def test_values_that_would_lose_something_are_refused(value: Any, datatype: str) -> None:
    """A conversion that changes a value is refused, with the input's name and its datatype."""
    with pytest.raises(TensorError, match=rf"input 'x' is {datatype}"):
        fit("x", value, datatype)


def test_the_refusal_says_how_to_convert() -> None:
    """Whoever wants the loss is told how to ask for it."""
    with pytest.raises(TensorError, match=r"convert it yourself, with \.astype\(np\.float32\)"):
        fit("x", np.array([0.1], np.float64), "FP32")


@given(st.data(), st.sampled_from(sorted(DTYPES)), st.sampled_from(sorted(DTYPES)))
def test_what_survives_is_the_same_number(data: st.DataObject, found: str, wanted: str) -> None:
    """Wherever `survives` says yes, the number converted is the number, as Python counts."""
    array = data.draw(arrays.arrays(DTYPES[found], 1))
    if survives(array, DTYPES[wanted]):
        before, after = array[0].item(), array.astype(DTYPES[wanted])[0].item()
        assert after == before or (after != after and before != before)


BAD: dict[str, Any] = {
    "ragged numbers": [[1], [2, 3]],
    "ragged text": [["a"], ["b", "c"]],
    "text among numbers": [1, "a"],
    "numbers among text": ["a", 1],
    "nothing": [None],
    "an object": {"a": 1},
    "too large for any dtype": [2**70],
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_array_is_refused(case: str) -> None:
    """Ragged, mixed and foreign values are refused, with the input's name."""
    with pytest.raises(TensorError, match="input 'x'"):
        as_array("x", BAD[case])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1, True),
        ([[0.5]], True),
        ([], True),
        (np.float32(1), False),
        ([np.zeros(2)], False),
        (["a"], False),
        ("a", False),
    ],
)
def test_plain_is_what_has_no_dtype(value: Any, plain: bool) -> None:
    """Only Python numbers are plain: arrays, their scalars and text have a datatype already."""
    assert is_plain(value) is plain


@pytest.mark.parametrize(
    ("have", "declared", "wanted"),
    [
        ((64,), (-1, 64), (1, 64)),
        ((64,), (-1, -1), (1, 64)),
        ((63,), (-1, 64), (63,)),
        ((2, 64), (-1, 64), (2, 64)),
        ((64,), (1, 64), (64,)),
        ((), (-1,), (1,)),
    ],
)
def test_one_item_becomes_a_batch_of_one(
    have: tuple[int, ...], declared: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """A batch dimension is added only where the declaration leaves it open and the rest agrees."""
    assert add_batch(np.zeros(have), declared).shape == wanted
