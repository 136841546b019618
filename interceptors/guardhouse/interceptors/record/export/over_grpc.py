"""OTLP over gRPC, from bytes to bytes: no message is built twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc

from .answers import Answer, Later, Taken, of_status, rejected

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),  # straight to the collector, as over HTTP
    ("grpc.use_local_subchannel_pool", 1),
    # Left alone, grpc tries a collector that was away for a while only every two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


class OverGrpc:
    """A channel to a collector. See `Transport`.

    Args:
        target: host:port.
        headers: Sent with every request; keys in lower case.
        credentials: For TLS; None sends in plain text.
    """

    def __init__(
        self, target: str, headers: Mapping[str, str], credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._headers = tuple(headers.items())
        self._channel = (
            grpc.secure_channel(target, credentials, OPTIONS)
            if credentials
            else grpc.insecure_channel(target, OPTIONS)
        )
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)

    def send(self, request: bytes, timeout: float) -> Answer:
        """See `Transport.send`."""
        try:
            answer = self._export(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            return of_status(error.code(), _details(error))
        except ValueError:  # the channel was closed
            return Later("closed")
        return Taken(rejected(answer))

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()


def _details(error: Any) -> bytes:
    """The rich status of a failed call, encoded; empty where there is none."""
    found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return found if isinstance(found, bytes) else b""
