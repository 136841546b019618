"""SPIFFE ids, by the grammar of the SPIFFE-ID standard, sections 2.1 to 2.3."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 2048
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


def workload(text: str) -> str:
    """*text* if it is the SPIFFE id of a workload: a trust domain and a path, nothing else.

    Raises:
        ValueError: It is not; the message says what would be right.
    """
    if len(text) > LONGEST:
        message = f"a SPIFFE id has at most {LONGEST} bytes"
        raise ValueError(message)
    if not text.startswith("spiffe://"):
        message = "a SPIFFE id starts with spiffe://"
        raise ValueError(message)
    domain, *segments = text.removeprefix("spiffe://").split("/")
    if not _TRUST_DOMAIN.fullmatch(domain):
        message = "the trust domain is lower-case letters, digits, dots, dashes and underscores"
        raise ValueError(message)
    if not segments:
        message = "the id of a workload has a path after its trust domain"
        raise ValueError(message)
    if not all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        message = "path segments are letters, digits, dots, dashes and underscores, and never empty, . or .."
        raise ValueError(message)
    return text
