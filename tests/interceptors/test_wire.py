"""The bytes we write by hand, read by protobuf."""

from __future__ import annotations

import struct

import pytest
from google.protobuf.internal.decoder import _DecodeVarint  # type: ignore[attr-defined] # not in its stubs
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from guardhouse.interceptors.record.wire import attribute, field, varint

ATTRIBUTE = b"J"  # Span.attributes = 9


def _read(key: str, value: str | bool | float | tuple[str, ...]) -> KeyValue:
    (pair,) = Span.FromString(attribute(ATTRIBUTE, key, value)).attributes
    return pair


@given(st.integers(0, 2**64 - 1))
def test_varint(number: int) -> None:
    """protobuf reads back the number and stops where it ends."""
    raw = varint(number)

    assert _DecodeVarint(raw + b"\xff", 0) == (number, len(raw))


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, 2**32, 2**63, 2**64 - 1])
def test_varint_edges(number: int) -> None:
    """Each length of varint, at its ends."""
    assert _DecodeVarint(varint(number), 0) == (number, max(1, -(-number.bit_length() // 7)))


@given(st.binary(max_size=40_000))
def test_field(content: bytes) -> None:
    """A field of any length is what it was made of."""
    assert AnyValue.FromString(field(b":", content)).bytes_value == content  # AnyValue.bytes_value = 7


@given(st.text(), st.text())
def test_text(key: str, value: str) -> None:
    """Text, and what is no text any more (half of a surrogate pair), is legal UTF-8 on the wire."""
    legal = [text.encode("utf-8", "replace").decode() for text in (key, value)]
    pair = _read(legal[0], value)

    assert [pair.key, pair.value.string_value] == legal


def test_half_a_surrogate_pair() -> None:
    """What a caller's broken text leaves does not break the span."""
    assert _read("k", "a\udcffb").value.string_value == "a?b"


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers(value: int) -> None:
    """The whole range of int64, negative numbers included."""
    assert _read("k", value).value.int_value == value


@given(st.floats(allow_nan=False))
def test_floats(value: float) -> None:
    """Doubles bit by bit."""
    assert struct.pack("<d", _read("k", value).value.double_value) == struct.pack("<d", value)


@given(st.booleans(), st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_truth_and_lists(truth: bool, texts: list[str]) -> None:
    """A bool is no integer; a tuple is an array of its texts."""
    assert _read("k", truth).value.WhichOneof("value") == "bool_value"
    assert _read("k", truth).value.bool_value is truth
    assert [item.string_value for item in _read("k", tuple(texts)).value.array_value.values] == texts
