"""From the address of an OTLP/gRPC collector to an exporter whose spans say which service they come from."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Final

import grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource

from .export import Exporter

ENDPOINT: Final = re.compile(r"(https?)://([^/@?#\s]+:\d{1,5})/?")
OURS: Final = "guardhouse"


def exporter_to(endpoint: str, service: str = OURS) -> Exporter:
    """An exporter to the collector at *endpoint*, `http://host:port`, or `https://host:port` for TLS.

    Nothing is asked of the collector: whether it is there shows when the first spans are sent.

    Args:
        endpoint: Where it is.
        service: What the spans call the service, unless the environment names it: see `resource`.

    Raises:
        ValueError: The endpoint is no such address.
    """
    address = ENDPOINT.fullmatch(endpoint)
    if address is None:
        raise ValueError(f"`{endpoint}` is not http(s)://host:port; write http://127.0.0.1:4317")
    tls = grpc.ssl_channel_credentials() if address[1] == "https" else None
    return Exporter(address[2], resource(service), credentials=tls)


def resource(service: str = OURS) -> bytes:
    """The encoded OTLP resource of *service*; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go first."""
    named: dict[str, object] = dict(Resource.create().attributes)
    if str(named.get("service.name", "unknown_service")).startswith("unknown_service"):
        named["service.name"] = service
    if service == OURS:  # somebody else's service has a version of its own
        named.setdefault("service.version", version(OURS))
    return ResourceMessage(
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in named.items()]
    ).SerializeToString()


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=str(value))
