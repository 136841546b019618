"""How a channel is opened: where plain text is allowed, and the options that both colours share."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import grpc

from .credentials import Credentials, channel_credentials
from .errors import ConfigurationError

Options = tuple[tuple[str, Any], ...]

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

# Each of these differs from grpc's default on purpose.
OPTIONS: Final[Options] = (
    ("grpc.enable_retries", 0),  # we retry, and only where the server said so
    ("grpc.service_config_disable_resolution", 1),  # DNS records do not configure us
    ("grpc.keepalive_time_ms", 330_000),  # servers count pings more often than every 5 minutes as abuse
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 10_000),  # a server that was restarted is found again soon
)

_TARGET = re.compile(
    r"(?:dns:(?:///)?|ipv4:|ipv6:)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/,%]+)):[0-9]{1,5}"
)


class Plan(NamedTuple):
    """All that opening a channel takes; credentials are None for plain text."""

    target: str
    credentials: grpc.ChannelCredentials | None
    options: Options


def plan(
    target: str,
    credentials: Credentials,
    *,
    insecure: bool = False,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    options: Sequence[tuple[str, Any]] = (),
) -> Plan:
    """Decide how to open a channel. Later options win.

    Raises ConfigurationError where it must not be opened.
    """
    if not target:
        raise ConfigurationError("the target is empty: name one like 127.0.0.1:8443")
    chosen = dict(OPTIONS) | {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
    }
    if is_loopback(target):
        chosen["grpc.enable_http_proxy"] = 0  # a proxy is not this machine, and it would see the token
    if credentials.server_name:
        chosen["grpc.ssl_target_name_override"] = credentials.server_name
    chosen |= dict(options)
    if insecure:
        _check_plain_text(target, credentials)
    return Plan(target, None if insecure else channel_credentials(credentials), tuple(chosen.items()))


def is_loopback(target: str) -> bool:
    """Tell whether the target can only be this machine. What cannot be told is taken for another one."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    found = _TARGET.fullmatch(target)
    if not found:
        return False
    host = found["v6"] or found["name"]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_plain_text(target: str, credentials: Credentials) -> None:
    if not is_loopback(target):
        raise ConfigurationError(
            f"plain text goes to this machine only, and {target} may be another: use TLS, without insecure"
        )
    if (credentials.ca, credentials.certificate, credentials.key) != (None, None, None):
        raise ConfigurationError(
            "certificates are of no use in plain text: leave out insecure, or leave them out"
        )
