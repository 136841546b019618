"""Patterns of a policy: a name, or a name with `*` in place of whole segments. Always the full string.

Segments stand between `/ . - _ :`. A `*` in front or in the middle is exactly one segment; as the last
segment it is any rest that is not empty; alone it is any name. An empty text matches nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from guardhouse.interceptors.documents.sections import did_you_mean
from guardhouse.interceptors.methods import INFERENCE, SERVICES

SEPARATORS: Final = re.compile(r"([/.\-_:])")
ONE_SEGMENT: Final = r"[^/.\-_:]+"
ANY_REST: Final = r"(?s:.+)"
LONGEST: Final = 512
IDENTIFIER: Final = r"[A-Za-z_][A-Za-z0-9_]*"
METHOD: Final = re.compile(rf"({IDENTIFIER}(?:\.{IDENTIFIER})*)/({IDENTIFIER}|\*)")


class Pattern(NamedTuple):
    """A parsed pattern. *wild* is None for a plain name.

    Attributes:
        text: As written.
        wild: What a name must match in full, where the pattern has a `*`.
    """

    text: str
    wild: re.Pattern[str] | None

    def matches(self, name: str) -> bool:
        """Whether *name*, the whole of it, is meant."""
        return name == self.text if self.wild is None else self.wild.fullmatch(name) is not None


def pattern(text: str) -> Pattern:
    """The pattern in *text*. ValueError says what to write instead."""
    if len(text) > LONGEST:
        message = f"is longer than {LONGEST} characters"
        raise ValueError(message)
    parts = SEPARATORS.split(text)
    segments = parts[::2]
    if any("*" in segment and segment != "*" for segment in segments):
        message = f"`*` must stand for a whole segment, between / . - _ or :; {_meant(text)}"
        raise ValueError(message)
    if "*" not in segments:
        return Pattern(text, None)
    middle = [ONE_SEGMENT if part == "*" else re.escape(part) for part in parts[:-1]]
    last = ANY_REST if segments[-1] == "*" else re.escape(segments[-1])
    return Pattern(text, re.compile("".join(middle) + last))


def _meant(text: str) -> str:
    if set(text) == {"*"}:
        return "write `*`"
    stem, _, rest = text.partition("*")
    if stem and not rest.strip("*"):
        return f"write `{stem}-*` for names that go on after a separator, or list the names"
    return "list the names, or write `*` between separators, like `a-*-b`"


def method(text: str) -> str:
    """The path that *text* means: "/package.Service/Method", "/package.Service/*" or "*".

    A bare name is a method of the inference protocol. ValueError says what to write instead.
    """
    if text == "*":
        return text
    if text.startswith("/"):
        message = f"`{text}` begins with a slash; write {text.lstrip('/') or 'package.Service/Method'}"
        raise ValueError(message)
    full = text if "/" in text else f"{INFERENCE}/{text}"
    found = METHOD.fullmatch(full)
    if not found:
        message = f"`{text}` is not a method; write Method, package.Service/Method, package.Service/* or *"
        raise ValueError(message)
    known = SERVICES.get(found[1])
    if known is not None and found[2] != "*" and found[2] not in known:
        message = f"`{found[1]}` has no method `{found[2]}`{did_you_mean(found[2], known)}"
        raise ValueError(message)
    return f"/{full}"


def exact_method(text: str) -> str:
    """The path of one method; `*` is refused."""
    if "*" in text:
        message = f"`{text}` opens more than one method; name each method to open"
        raise ValueError(message)
    return method(text)


def service_of(path: str) -> str:
    """The pattern of all methods of the service of *path*: "/package.Service/*"."""
    return path.rpartition("/")[0] + "/*"


def covers(wanted: str, path: str) -> bool:
    """Whether the method pattern *wanted* (as `method` gives it) means *path*."""
    return wanted in {"*", path, service_of(path)}
