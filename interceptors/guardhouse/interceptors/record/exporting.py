"""From a collector to an exporter whose spans say which service they come from."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource

from .collector import Collector, TracingError, mistakes
from .export import Exporter
from .export.answers import Transport
from .export.over_grpc import OverGrpc
from .export.over_http import OverHttp
from .export.spool import Spool

OURS: Final = "guardhouse"


def exporter_to(collector: str | Collector, service: str = OURS) -> Exporter:
    """An exporter to *collector*, or to the OTLP/gRPC collector at an address, `http(s)://host:port`.

    Nothing is asked of the collector: whether it is there shows when the first spans are sent.

    Args:
        collector: Where spans go.
        service: What the spans call the service, unless the environment names it: see `resource`.

    Raises:
        TracingError: Something about the collector is wrong: its address, a header, a file, the spool.
    """
    if isinstance(collector, str):
        collector = Collector(collector)
    for name, problem in mistakes(collector):
        raise TracingError(problem if name == "endpoint" else f"{name} {problem}")
    transport = transport_to(collector)
    spool = Spool(Path(collector.spool), collector.spool_limit) if collector.spool is not None else None
    return Exporter(transport, encoded(resource(service)), spool=spool)


def transport_to(collector: Collector) -> Transport:
    """The way to *collector*, with its files read. Raises TracingError if one of them is no good."""
    context = _context(collector) if collector.secure else None
    if collector.protocol == "http/protobuf":
        return OverHttp(collector.endpoint, collector.headers, context)
    target = collector.endpoint.partition("://")[2].rstrip("/")
    return OverGrpc(target, collector.headers, _credentials(collector) if context else None)


def _context(collector: Collector) -> ssl.SSLContext:
    """For HTTP; and for gRPC the proof that the files are good, which its own library would not tell."""
    try:
        context = ssl.create_default_context(cafile=collector.ca)
        if collector.certificate is not None:
            context.load_cert_chain(collector.certificate, collector.key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "strerror", None) or error
        raise TracingError(f"the collector's ca, certificate or key cannot be used: {why}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted; write it out without a passphrase, mode 0600")


def _credentials(collector: Collector) -> grpc.ChannelCredentials:
    def read(path: str | Path | None) -> bytes | None:
        return None if path is None else Path(path).read_bytes()

    return grpc.ssl_channel_credentials(read(collector.ca), read(collector.key), read(collector.certificate))


def resource(service: str = OURS) -> Resource:
    """The resource of *service*; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go first."""
    made = Resource.create()
    if str(made.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        made = made.merge(Resource({"service.name": service}))
    if service == OURS:  # somebody else's service has a version of its own
        made = Resource({"service.version": version(OURS)}).merge(made)
    return made


def encoded(resource: Resource) -> bytes:
    """*resource* as an OTLP `Resource`."""
    return ResourceMessage(
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in resource.attributes.items()]
    ).SerializeToString()


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return AnyValue(array_value=ArrayValue(values=map(_value, value)))
    return AnyValue(string_value=str(value))
