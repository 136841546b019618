"""Where the receiver may listen: this machine only, on a port that nobody holds."""

import errno
import ipaddress
import socket
from contextlib import closing

DEFAULT_LISTEN = "127.0.0.1:4317"  # OTLP/gRPC's own port


class ListenError(Exception):
    """No receiver at that address; the text is one line. *in_use* where another program holds the port."""

    def __init__(self, text: str, in_use: bool = False) -> None:
        super().__init__(text)
        self.in_use = in_use


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` as (IP address, port). Raises `ListenError` for anything that is not loopback.

    The receiver asks nobody for credentials, so nobody else's machine may reach it.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"--listen wants HOST:PORT with a port of 0 to 65535, as in {DEFAULT_LISTEN}")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        raise ListenError(f"--listen wants an IP address of this machine, as in {DEFAULT_LISTEN}") from None
    if not address.is_loopback:
        raise ListenError(
            f"{address} is not a loopback address: traces are received on 127.0.0.1 or [::1] only"
        )
    return str(address), int(port)


def join(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def after(address: str) -> str:
    """The address of the next port, where OTLP/HTTP is received: 4318 after 4317. After 0 it is 0: any."""
    host, port = parse_listen(address)
    if port == 65535:
        raise ListenError("--listen wants a port below 65535: the next one receives OTLP/HTTP")
    return join(host, port + 1 if port else 0)


def busy(port: int) -> ListenError:
    """The error for a port that is held by somebody else."""
    return ListenError(f"port {port} is in use by another program: choose another with --listen", in_use=True)


def probe(host: str, port: int) -> None:
    """Try the port with a plain socket: gRPC would print its own log lines and not say what is wrong.

    Raises `ListenError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as gRPC does: old connections may linger
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise busy(port) from error
        raise ListenError(f"cannot listen on {join(host, port)}: {error.strerror}") from error
