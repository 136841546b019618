"""What grpc is told at start-up: TLS, and every limit that stands before the chain."""

from __future__ import annotations

from importlib.metadata import version

import grpc

from .config import Server, Tls

# Measured: 1.84.2 and 1.85.1 are stopped by one request whose :path is not UTF-8; 1.80.0 and 1.83.0 unpack a
# gzip bomb whole before they look at its size (1,091 MB), while from 1.83.1 on it is bounded (7 MB).
# docs/grpcio.md tells how to see both.
SAFE_GRPCIO = ((1, 83, 2), (1, 84, 0))


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """TLS as configured. `require` never falls back to a connection without a verified client."""
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    if tls.client_auth == "none":
        return grpc.ssl_server_credentials([pair])
    if tls.client_ca is None:
        message = "client_auth: require needs a client_ca"
        raise ValueError(message)
    return grpc.ssl_server_credentials([pair], tls.client_ca.read_bytes(), require_client_auth=True)


def options(limits: Server) -> list[tuple[str, int]]:
    """grpc's channel arguments. Both metadata limits are the same: between them grpc refuses at random."""
    milliseconds = 1000
    return [
        ("grpc.so_reuseport", 0),  # a second server on this port is an error, not a thief
        ("grpc.max_receive_message_length", limits.max_message),
        ("grpc.max_send_message_length", limits.max_message),
        ("grpc.max_metadata_size", limits.max_metadata),
        ("grpc.absolute_max_metadata_size", limits.max_metadata),
        ("grpc.max_concurrent_streams", limits.max_streams),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_timeout * milliseconds)),
        ("grpc.max_connection_age_ms", int(limits.connection_age * milliseconds)),
        ("grpc.max_connection_age_grace_ms", int(limits.connection_grace * milliseconds)),
        ("grpc.http2.min_ping_interval_without_data_ms", 30 * milliseconds),
    ]


def unsafe_grpcio(installed: str = "") -> str:
    """A warning if the installed grpcio has a known hole, or ""."""
    text = installed or version("grpcio")
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    if SAFE_GRPCIO[0] <= numbers < SAFE_GRPCIO[1]:
        return ""
    return (
        f"grpcio {text} lets one malformed request stop the server or fill its memory; "
        "install 'grpcio>=1.83.2,<1.84' (docs/grpcio.md)"
    )
