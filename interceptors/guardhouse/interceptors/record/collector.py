"""What a collector is: where, over which protocol, and what it wants to see. Nothing here touches a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from guardhouse.interceptors.loopback import is_loopback

ENDPOINT: Final = re.compile(
    r"(https?)://((?:\[[0-9A-Fa-f:.]+\]|[^/@?#\s\[\]:]+):\d{1,5})((?:/[^/@?#\s]+)*)/?"
)
HEADER: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")
OURS: Final = re.compile(r"grpc-.*|.*-bin|content-.*|host|te|user-agent|connection|transfer-encoding")
SECRET: Final = re.compile(r"auth|key|token|secret|cookie|password")
LEAST_SPOOL: Final = 8 * 2**20  # two requests of the largest size

Protocol = Literal["grpc", "http/protobuf"]


class TracingError(ValueError):
    """Spans cannot be sent as they should be. The text is for the operator, and says what to do."""


@dataclass(frozen=True, slots=True)
class Collector:
    """An OTLP collector.

    Attributes:
        endpoint: http(s)://host:port; for http/protobuf perhaps with a path, before `/v1/traces`.
        protocol: "grpc" or "http/protobuf".
        headers: Sent with every request, their names in lower case. Never logged.
        ca: PEM file of the authorities that its certificate is checked against; None for the public ones.
        certificate: PEM file of the client certificate that we show it.
        key: PEM file of its private key.
        spool: Folder where spans wait while the collector is away and memory fills; None for no spool.
        spool_limit: Bytes that the folder may take.
    """

    endpoint: str
    protocol: Protocol = "grpc"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    spool: str | Path | None = None
    spool_limit: int = 256 * 2**20

    @property
    def secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.endpoint.startswith("https:")


def mistakes(collector: Collector) -> Iterator[tuple[str, str]]:
    """What is wrong with *collector*: attribute, and what to write instead. Shows no header's value."""
    if problem := endpoint_problem(collector.endpoint, collector.protocol):
        yield "endpoint", problem
    if not collector.secure:
        for name in ("ca", "certificate", "key"):
            if getattr(collector, name) is not None:
                yield name, "is of no use without TLS; write an https:// endpoint, or take it out"
    if (collector.certificate is None) != (collector.key is None):
        there, missing = ("certificate", "key") if collector.key is None else ("key", "certificate")
        yield there, f"stands alone; write {missing} too"
    if collector.spool_limit < LEAST_SPOOL:
        yield "spool_limit", "is out of range; write 8MiB or more"
    for name, value in collector.headers.items():
        if problem := header_problem(name, value) or _exposed(collector, name):
            yield f"headers.{name}", problem


def endpoint_problem(endpoint: str, protocol: str) -> str:
    """What is wrong with *endpoint*, or ""."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or not 0 < int(found[2].rpartition(":")[2]) < 65536 or not _parses(endpoint):
        return f"`{endpoint}` is not http(s)://host:port; write http://127.0.0.1:4317"
    if found[3] and protocol == "grpc":
        return f"`{endpoint}` is not http(s)://host:port; take its path out, or write protocol: http/protobuf"
    if found[3].endswith("/v1/traces"):
        return f"`{endpoint}` has the path /v1/traces, which is added anyway; take it out"
    return ""


def header_problem(name: str, value: str) -> str:
    """What is wrong with a header, or ""."""
    if not HEADER.fullmatch(name):
        return "is not a header's name; write it in a-z 0-9 . _ -, in lower case"
    if OURS.fullmatch(name):
        return "belongs to the protocol; take it out"
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        return "has a value that no header can have; write printable ASCII, without blanks at its ends"
    return ""


def _exposed(collector: Collector, name: str) -> str:
    """A secret never goes over a network in plain text."""
    if collector.secure or not SECRET.search(name) or _stays_here(collector.endpoint):
        return ""
    return "looks like a secret, and would go over the network in plain text; write an https:// endpoint"


def _parses(endpoint: str) -> bool:
    try:
        host = urlsplit(endpoint).hostname or ""
        return bool(ip_address(host)) if ":" in host or re.fullmatch(r"[0-9.]+", host) else bool(host)
    except ValueError:
        return False


def _stays_here(endpoint: str) -> bool:
    try:
        return is_loopback(urlsplit(endpoint).hostname or "")
    except ValueError:
        return False
