"""Names a caller may send, of models, versions, tensors and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from guardhouse.interceptors.refusal import Refusal

MOST_PARAMETERS: Final = 64

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MODEL_VERSION: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
# Parameters that say where tensors come from or go to, in ways we do not have, or that belong to the server.
# Refused, not ignored: a call that leaves one out means something else.
RESERVED: Final = frozenset(
    {
        "shared_memory_region",
        "shared_memory_offset",
        "shared_memory_byte_size",
        "headers",
        "classification",
        "binary_data",
        "binary_data_size",
        "binary_data_output",
    }
)
RESERVED_PREFIXES: Final = ("triton_", "guardhouse")
TAKEN: Final = frozenset({"triton_enable_empty_final_response"})  # what we have, of what is reserved


def is_model_name(name: str) -> bool:
    """Whether *name* may name a model: letters, digits, `.`, `_`, `-`; 1 to 128, the first no mark."""
    return _MODEL_NAME.fullmatch(name) is not None


def is_model_version(version: str) -> bool:
    """Whether *version* may name a version: as a model's name, at most 64; "" asks for the default."""
    return _MODEL_VERSION.fullmatch(version) is not None


def is_tensor_name(name: str) -> bool:
    """Whether *name* may name a tensor: 1 to 256 printable characters; models choose odd ones."""
    return 0 < len(name) <= 256 and name.isprintable()


def is_mark(text: str) -> bool:
    """Whether *text* may be a request's id: at most 256 printable characters, or none."""
    return len(text) <= 256 and text.isprintable()


def check_model(name: str, version: str = "") -> None:
    """Refuse with NAME_INVALID what can name no model. Paths, line ends and control sequences cannot."""
    if not is_model_name(name):
        raise Refusal("NAME_INVALID", say="the model's name")
    if not is_model_version(version):
        raise Refusal("NAME_INVALID", say="the model's version")


def check_parameters(parameters: Mapping[str, Any], where: str) -> None:
    """Refuse parameters that are too many, badly named, without a value, or not the caller's to set.

    Args:
        parameters: A protobuf map of messages with the oneof `parameter_choice`.
        where: What carries them, in words of ours.

    Raises:
        Refusal: PARAMETER_INVALID.
    """
    if len(parameters) > MOST_PARAMETERS:
        said = f"{where} carries {len(parameters)}, {MOST_PARAMETERS} at most are taken"
        raise Refusal("PARAMETER_INVALID", say=said)
    for key, value in parameters.items():
        if not 0 < len(key) <= 128 or not key.isascii() or not key.isprintable():
            raise Refusal("PARAMETER_INVALID", say=f"a key of {where} is empty, too long or badly formed")
        plain = key.lower()
        if key not in TAKEN and (plain in RESERVED or plain.startswith(RESERVED_PREFIXES)):
            raise Refusal("PARAMETER_INVALID", say=f"a key of {where} is reserved")
        if value.WhichOneof("parameter_choice") is None:
            raise Refusal("PARAMETER_INVALID", say=f"a parameter of {where} has no value")
