"""A small real server to test callers against: mutual TLS on a free port, answers by a function of yours.

    with serve(tmp_path, lambda method, request, context: ...) as server:
        with Client.from_profile(server.profile) as client: ...

It needs the package `cryptography`, which the client itself does not.
"""

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from guardhouse.protos import guardhouse_pb2, inference_pb2

Answer = Callable[[str, Any, grpc.ServicerContext], Message]

SPIFFE_ID: Final = "spiffe://test.example/client"
TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_LIFETIME = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """One call as it arrived."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    seconds_left: float


@dataclass(slots=True)
class Server:
    """A running server: where it is, the profile of a client it takes, and the calls it got."""

    target: str
    profile: Path
    calls: list[Seen] = field(default_factory=list)


@contextmanager
def serve(directory: Path, answer: Answer, *, plain: bool = False) -> Iterator[Server]:
    """Serve until the block ends; certificates and a client's profile are written into *directory*.

    *answer* takes a method's name, its request and its context, and runs in a thread.
    """
    if not plain:
        make_pki(directory)
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)]
    with ThreadPoolExecutor(8) as pool:
        listener = grpc.server(pool, options=options)
        port = (
            listener.add_insecure_port("127.0.0.1:0")
            if plain
            else listener.add_secure_port("127.0.0.1:0", _server_credentials(directory))
        )
        server = Server(f"127.0.0.1:{port}", directory)
        write_profile(directory, server.target)
        listener.add_generic_rpc_handlers(_handlers(answer, server.calls))
        listener.start()
        try:
            yield server
        finally:
            listener.stop(grace=None).wait()


def refuse(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    message: str = "refused",
    *,
    retry_after: float | None = None,
) -> NoReturn:
    """End the call as a Guardhouse server does: with rich details, and pushback where it invites a retry."""
    status = status_pb2.Status(code=code.value[0], message=message)
    ids = {"error_id": "00f067aa0ba902b7", "trace_id": TRACE_ID}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="guardhouse", metadata=ids))
    trailers: list[tuple[str, str | bytes]] = [
        ("guardhouse-reason", reason),
        ("guardhouse-trace-id", TRACE_ID),
    ]
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(retry_after * 1e9))
        status.details.add().Pack(retry)
        trailers.append(("grpc-retry-pushback-ms", str(round(retry_after * 1000))))
    context.set_trailing_metadata((*trailers, ("grpc-status-details-bin", status.SerializeToString())))
    context.abort(code, message)
    raise AssertionError("abort returned")


def write_profile(directory: Path, target: str, token: str = "test-token") -> None:  # noqa: S107 - for tests
    """Write the profile of a client for *target* beside its certificates."""
    (directory / "token").write_text(token + "\n")
    files = "ca: ca.pem\ncertificate: client.pem\nkey: client.key\ntoken_file: token\n"
    (directory / "client.yaml").write_text(f"target: {target}\n{files}")


def make_pki(directory: Path) -> None:
    """Write a new CA, ca.pem, and signed by it server.pem and client.pem, each with its .key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("test CA", ca_key, None, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaves: dict[str, tuple[list[x509.GeneralName], Any]] = {
        "server": (addresses, Usage.SERVER_AUTH),
        "client": ([x509.UniformResourceIdentifier(SPIFFE_ID)], Usage.CLIENT_AUTH),
    }
    _write(directory / "ca.pem", ca)
    for name, (names, usage) in leaves.items():
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage([usage])
        _write(directory / f"{name}.pem", _certificate(name, key, ca, ca_key, *extensions))
        _write(directory / f"{name}.key", key)


def _certificate(name: str, key: Any, issuer: Any, issuer_key: Any, *extensions: Any) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFETIME)
        .not_valid_after(now + _LIFETIME)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


def _write(path: Path, made: Any) -> None:
    from cryptography.hazmat.primitives import serialization as form

    if path.suffix == ".pem":
        path.write_bytes(made.public_bytes(form.Encoding.PEM))
    else:
        path.write_bytes(made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))


def _server_credentials(directory: Path) -> grpc.ServerCredentials:
    key, certificate, ca = (
        (directory / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")
    )
    return grpc.ssl_server_credentials([(key, certificate)], root_certificates=ca, require_client_auth=True)


def _handlers(answer: Answer, calls: list[Seen]) -> list[grpc.GenericRpcHandler]:
    """One handler for every unary method of both services."""
    return [
        grpc.method_handlers_generic_handler(
            service.full_name,
            {
                method.name: _handler(method.name, messages, method, answer, calls)
                for method in service.methods
                if not method.client_streaming
            },
        )
        for messages in (inference_pb2, guardhouse_pb2)
        for service in messages.DESCRIPTOR.services_by_name.values()
    ]


def _handler(name: str, messages: Any, method: Any, answer: Answer, calls: list[Seen]) -> Any:
    def run(request: Any, context: grpc.ServicerContext) -> Message:
        metadata = dict(context.invocation_metadata())
        calls.append(Seen(name, request, metadata, context.time_remaining()))
        return answer(name, request, context)

    return grpc.unary_unary_rpc_method_handler(
        run,
        request_deserializer=getattr(messages, method.input_type.name).FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
