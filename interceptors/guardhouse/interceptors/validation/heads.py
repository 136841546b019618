"""Requests that are the same but for their tensor, told by their first bytes.

What a client asks differs from call to call in the tensor alone: everything before it, names, shape and
datatype, is the same to the byte. Where a message is one that was judged before, with another raw tensor of
the same length at its end, the judgement is the same, and the message need not be taken apart for it.
"""

from __future__ import annotations

from typing import Any, Final

from guardhouse.interceptors.bounded import Bounded

LONGEST: Final = 1024  # bytes of a head worth keeping
MOST: Final = 256  # heads, and lengths of messages, kept
_RAW: Final = 7  # ModelInferRequest.raw_input_contents
_SIZES: Final = {1: 8, 5: 4}  # bytes of a field of a fixed-size wire type


class Heads:
    """The heads of messages that were found to be in order."""

    def __init__(self) -> None:
        self._sizes: Bounded[int, int] = Bounded(MOST)  # of a head, by the length of its message
        self._heads: Bounded[tuple[int, bytes], None] = Bounded(MOST)  # with the length of the message

    def known(self, raw: bytes) -> bool:
        """Whether *raw* is a message that was kept, but for its tensor."""
        length = len(raw)
        size = self._sizes.get(length)
        return size is not None and (length, raw[:size]) in self._heads

    def keep(self, raw: bytes, request: Any) -> None:
        """Remember *raw*, which is in order as *request*, if its tensor can differ without any harm."""
        if request.id or len(request.raw_input_contents) != 1 or request.inputs[0].datatype == "BYTES":
            return  # an id is another one each time; BYTES are judged by what they hold
        size = len(raw) - len(request.raw_input_contents[0])
        if size <= LONGEST and ends_with_tensor(raw, size):
            self._sizes.put(len(raw), size)
            self._heads.put((len(raw), raw[:size]), None)


def ends_with_tensor(raw: bytes, begin: int) -> bool:
    """Whether the last field of the message *raw* is a raw tensor whose bytes begin at *begin*.

    Only the fields of the message itself count: bytes that look so within another field are that field's.
    *raw* is a message that protobuf has parsed (protobuf.dev/programming-guides/encoding).
    """
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        kind = key & 7
        if kind == 2:
            length, at = _varint(raw, at)
            if at >= begin:
                return at == begin and key >> 3 == _RAW and at + length == len(raw)
            at += length
        elif kind == 0:
            at = _varint(raw, at)[1]
        elif kind in _SIZES:
            at += _SIZES[kind]
        else:  # a group: nobody sends them
            return False
    return False


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at *at*, and where it ends."""
    value = shift = 0
    while raw[at] > 0x7F:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | raw[at] << shift, at + 1
