"""A captured message as text that is harmless to a terminal, or as facts for a program."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from guardhouse.protos import inference_pb2

from .lines import word

TYPES: Final[Mapping[str, Any]] = {
    each.DESCRIPTOR.full_name: each
    for each in (
        inference_pb2.ModelInferRequest,
        inference_pb2.ModelInferResponse,
        inference_pb2.ModelStreamInferResponse,
    )
}
LONGEST: Final = 4000  # characters of one message


def as_text(facts: Mapping[str, Any]) -> str:
    """One message: a head, and what is in it, indented and cut to `LONGEST` characters."""
    data, size = facts["data"], facts["size"]
    cut = f", the first {len(data)} kept" if len(data) != size else ""
    names = "  ".join(word(facts[key]) for key in ("arrived", "call", "model", "part", "number"))
    shown = _content(str(facts["type"]), data)
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}\n... --json has the rest"
    return f"{names}  {word(size)} bytes{cut}\n" + "".join(f"  {line}\n" for line in shown.splitlines())


def as_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """One message as it is in the file: its bytes in base64."""
    return {**facts, "data": b64encode(facts["data"]).decode()}


def _content(name: str, data: bytes) -> str:
    """The message as protobuf text, which is ASCII; as hexadecimal digits where it was cut."""
    try:
        message = TYPES[name].FromString(data)
    except (KeyError, DecodeError):
        return data.hex(" ")
    return text_format.MessageToString(message, as_utf8=False)
