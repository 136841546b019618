"""Base64url and JSON for what strangers send: one spelling of each thing, bounded, nothing guessed.

Parsers that are lenient here have let one token have many texts (past any list of revoked ones) and nested
brackets end the process (CVE-2026-102269, CVE-2026-101918).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, Final, NoReturn

MOST_DEPTH: Final = 16
# A string, closed or not, is stepped over whole; the possessive marks keep the scan linear.
_MARKS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NotStrict(ValueError):  # noqa: N818 - named for what the text is
    """The text is refused; `code` is noncanonical, malformed, nested_too_deep or duplicate_member."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def base64url(text: str) -> bytes:
    """The bytes of unpadded base64url (RFC 7515, section 2). NotStrict unless it is their one spelling."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise NotStrict("noncanonical") from None
    if unpadded(data) != text:
        raise NotStrict("noncanonical")
    return data


def unpadded(data: bytes) -> str:
    """*data* as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that *data* is, in UTF-8: no member twice, no NaN or infinity, at most 16 deep.

    Raises:
        NotStrict: It is anything else.
    """
    try:
        text = data.decode("utf-8")
        if depth(text) > MOST_DEPTH:
            raise NotStrict("nested_too_deep")
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except NotStrict:
        raise
    except (ValueError, RecursionError):
        raise NotStrict("malformed") from None
    if not isinstance(value, dict):
        raise NotStrict("malformed")
    return value


def depth(text: str) -> int:
    """How deep the brackets of JSON *text* nest, counted without recursion; 0 if certainly not too deep."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return 0  # the usual case, and cheap
    level = deepest = 0
    for mark in _MARKS.finditer(text):
        sign = text[mark.start()]
        if sign in "[{":
            level += 1
            deepest = max(deepest, level)
        elif sign in "]}":
            level -= 1
    return deepest


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("duplicate_member")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict("malformed")
    return number


def _no_constant(_: str) -> NoReturn:
    raise NotStrict("malformed")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_finite, parse_constant=_no_constant
)
