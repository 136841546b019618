"""From configuration to an exporter of spans."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource

from guardhouse.interceptors.export import Exporter


def exporter(endpoint: str) -> Exporter:
    """An exporter to the OTLP/gRPC collector at *endpoint*, `http://host:port` or `https://host:port`."""
    url = urlsplit(endpoint)
    tls = grpc.ssl_channel_credentials() if url.scheme == "https" else None
    return Exporter(url.netloc, resource(), credentials=tls)


def resource() -> bytes:
    """This service as an encoded OTLP resource; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` add."""
    ours = {"service.name": "guardhouse", "service.version": version("guardhouse")}
    attributes: Mapping[str, object] = Resource.create().merge(Resource({})).attributes
    named = {**ours, **attributes}
    if str(named["service.name"]).startswith("unknown_service"):
        named["service.name"] = ours["service.name"]
    return ResourceMessage(
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in named.items()]
    ).SerializeToString()


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=str(value))
