"""Whether a host is this machine alone: what may then go unencrypted, or be read without any proof."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether *host*, an IPv6 address without brackets, is this machine alone. No name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
