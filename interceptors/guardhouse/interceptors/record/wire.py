"""Protobuf's wire format, as much of it as a span needs (protobuf.dev/programming-guides/encoding).

Building an OTLP span from messages costs two to three times what writing its bytes does; the tests hold
these bytes against the official messages.
"""

from __future__ import annotations

import struct

_DOUBLE = struct.Struct("<d").pack


def varint(number: int) -> bytes:
    """*number* (0 to 2**64-1) in base 128, least significant group first."""
    if number < 0x4000:
        return _SMALL[number]
    return _varint(number)


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_SMALL = tuple(map(_varint, range(0x4000)))


def field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field: *tag* is the field's key byte, ready made."""
    return tag + varint(len(content)) + content


def attribute(tag: bytes, key: str, value: str | bool | float | tuple[str, ...]) -> bytes:
    """One `opentelemetry.proto.common.v1.KeyValue` as the repeated field *tag*."""
    pair = field(b"\n", key.encode()) + field(b"\x12", _any_value(value))
    return field(tag, pair)


def _any_value(value: str | bool | float | tuple[str, ...]) -> bytes:
    if isinstance(value, str):
        return field(b"\n", value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE(value)
    return field(b"*", b"".join(field(b"\n", _any_value(item)) for item in value))
