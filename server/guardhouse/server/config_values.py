"""What single values of the configuration may be. Each function takes text and raises ValueError."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from guardhouse.interceptors.documents import Node, units
from guardhouse.interceptors.documents.sections import text as text_of
from guardhouse.interceptors.ledger.keys import secret
from guardhouse.interceptors.limits.stores.at import problem
from guardhouse.interceptors.limits.stores.redis_url import parse
from guardhouse.interceptors.loopback import is_loopback
from guardhouse.interceptors.policy.patterns import pattern
from guardhouse.interceptors.record.collector import endpoint_problem
from guardhouse.interceptors.validation.names import is_model_name
from guardhouse.interceptors.validation.names import is_model_version as is_version

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
MOST_MESSAGE: Final = 2**31 - 1  # grpc keeps it in 32 bits, signed
LONGEST_TIME: Final = 24 * 86_400.0  # grpc keeps milliseconds in 32 bits, signed
HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*")
PYTHON_OBJECT: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def listen(text: str) -> str:
    """host:port, IPv6 in brackets. Port 0 takes any that is free."""
    host, colon, port = text.rpartition(":")
    if colon and _is_host(host) and _is_port(port):
        return text
    raise ValueError(f"`{text}` is not host:port; write 127.0.0.1:8443 or [::1]:8443")


def endpoint(protocol: str) -> Callable[[str], str]:
    """A reader of where a collector is that speaks *protocol*."""

    def read(text: str) -> str:
        if problem := endpoint_problem(text, protocol):
            raise ValueError(problem)
        return text.rstrip("/")

    return read


def jwks(folder: Path) -> Callable[[str], str]:
    """A reader of where an issuer's keys are: a URL, or a file, a relative one from *folder*."""

    def read(text: str) -> str:
        if "://" not in text:
            return str(folder / text)
        url = _url(text)
        if url is None or url.scheme not in {"http", "https"} or url.username or url.fragment:
            raise ValueError(f"`{text}` cannot be fetched; write https://host/path, or the path of a file")
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError(f"`{text}` can be changed on its way; write https://")
        return text

    return read


def algorithm(text: str) -> str:
    """One asymmetric signature algorithm (RFC 7518, RFC 8037)."""
    if text in ALGORITHMS:
        return text
    choice = f"write one of {', '.join(ALGORITHMS)}"
    if text.upper().startswith("HS"):
        raise ValueError(f"`{text}` is signed with a shared secret: whoever checks could forge; {choice}")
    if text.lower() == "none":
        raise ValueError(f"`{text}` is no signature at all: anybody could forge; {choice}")
    raise ValueError(f"`{text}` is not accepted; {choice}")


def model_name(text: str) -> str:
    """A name that callers can send."""
    if is_model_name(text):
        return text
    raise ValueError(f"`{text}` is not a model name; write 1 to 128 of A-Z a-z 0-9 . _ - with no mark first")


def model_version(text: str) -> str:
    """A version that callers can send."""
    if is_version(text):
        return text
    raise ValueError(f"`{text}` is not a version; write 1 to 64 of A-Z a-z 0-9 . _ - with no mark first")


def python_object(text: str) -> str:
    """module:object."""
    if PYTHON_OBJECT.fullmatch(text):
        return text
    raise ValueError(f"`{text}` is not module:object; write package.module:model")


def store(folder: Path) -> Callable[[Node], str]:
    """A reader of where it is kept what was spent; the path of a file is relative from *folder*."""

    def read(node: Node) -> str:
        where = text_of(node)
        kind, _, path = where.partition(":")
        if kind == "sqlite" and path:
            return f"sqlite:{folder / path}"
        if trouble := problem(where):
            raise ValueError(f"`{node.raw}` is not a store: {trouble}")
        if where != "memory" and parse(where).password and "${" not in node.raw:
            raise ValueError("holds a password; put it into the environment, and write ${NAME} in its place")
        return where

    return read


def ledger_key(folder: Path) -> Callable[[Node], bytes | Path]:
    """A reader of a secret: `${NAME}` alone is one, all else the path of its file, relative from *folder*."""

    def read(node: Node) -> bytes | Path:
        if not re.fullmatch(r"\$\{\w+\}", node.raw):
            return folder / text_of(node)
        try:
            return secret(node.text.encode())
        except ValueError as error:
            raise ValueError(f"`{node.raw}` {error}") from None

    return read


def duration(text: str) -> float:
    """Seconds, more than none and at most 24 days."""
    seconds = units.duration(text)
    if 0 < seconds <= LONGEST_TIME:
        return seconds
    raise ValueError(f"`{text}` is out of range; write 1ms to {units.format_duration(LONGEST_TIME)}")


def size(least: int) -> Callable[[str], int]:
    """A reader of bytes, *least* to 2 GiB less one."""

    def read(text: str) -> int:
        count = units.size(text)
        if least <= count <= MOST_MESSAGE:
            return count
        raise ValueError(f"`{text}` is out of range; write {units.format_size(least)} to 2047MiB")

    return read


def amount(least: int, most: int) -> Callable[[str], int]:
    """A reader of bytes, *least* to *most*."""

    def read(text: str) -> int:
        count = units.size(text)
        if least <= count <= most:
            return count
        raise ValueError(
            f"`{text}` is out of range; write {units.format_size(least)} to {units.format_size(most)}"
        )

    return read


def retention(text: str) -> float:
    """Seconds that something is kept: an hour to ten years."""
    seconds = units.duration(text)
    if 3600 <= seconds <= 3650 * 86_400:
        return seconds
    raise ValueError(f"`{text}` is out of range; write 1h to 3650d")


def model_pattern(text: str) -> str:
    """A pattern of model names, as in a policy."""
    try:
        pattern(text)
    except ValueError as error:
        raise ValueError(f"`{text}` {error}") from None
    return text


def _url(text: str) -> SplitResult | None:
    """*text* as a URL with a host, or None."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    host = url.hostname or ""
    return url if _is_host(f"[{host}]" if ":" in host else host) else None


def _is_port(text: str) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,4}", text) is not None and int(text) <= 65535


def _is_host(text: str) -> bool:
    """A host name, an IPv4 address, or an IPv6 address in brackets."""
    if text.startswith("[") and text.endswith("]"):
        return _address(text[1:-1], 6)
    if re.fullmatch(r"[0-9.]+", text):
        return _address(text, 4)
    return HOST_NAME.fullmatch(text) is not None and len(text) < 254


def _address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
