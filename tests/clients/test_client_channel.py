"""Where a channel may lead, and how it is set up."""

import pytest

from guardhouse.clients import Client, ConfigurationError, Credentials
from guardhouse.clients.channel import is_loopback, plan

LOOPBACK = {
    "127.0.0.1:80": True,
    "127.9.9.9:80": True,
    "localhost:80": True,
    "[::1]:80": True,
    "dns:localhost:80": True,
    "dns:///127.0.0.1:80": True,
    "ipv4:127.0.0.1:80": True,
    "ipv6:[::1]:80": True,
    "unix:/run/model.sock": True,
    "10.0.0.1:80": False,
    "models.example:80": False,
    "localhost.example:80": False,
    "127.0.0.1.example:80": False,
    "ipv4:127.0.0.1:80,8.8.8.8:80": False,
    "dns://127.0.0.1/models.example:80": False,
    "dns://8.8.8.8/localhost:80": False,
    "xds:///localhost:80": False,
    "0.0.0.0:80": False,
    "localhost": False,
    "": False,
}


@pytest.mark.parametrize("target", LOOPBACK)
def test_loopback_is_told_for_certain_or_not_at_all(target: str) -> None:
    """A target counts as this machine only where it can be nothing else."""
    assert is_loopback(target) is LOOPBACK[target]


@pytest.mark.parametrize(
    "target", [target for target, loopback in LOOPBACK.items() if not loopback and target]
)
def test_plain_text_leaves_this_machine_under_no_condition(target: str) -> None:
    """insecure=True to anywhere else is refused when the client is made, with or without a token."""
    with pytest.raises(ConfigurationError, match="plain text goes to this machine only"):
        Client(target, insecure=True)


def test_plain_text_with_certificates_is_a_mistake() -> None:
    """Whoever gives certificates wants TLS."""
    with pytest.raises(ConfigurationError, match="certificates are of no use in plain text"):
        Client("127.0.0.1:1", insecure=True, credentials=Credentials(ca=b"-----BEGIN CERTIFICATE-----"))


def test_the_target_is_needed() -> None:
    """An empty target is named as such."""
    with pytest.raises(ConfigurationError, match="the target is empty"):
        Client("")


def test_grpc_does_not_retry_by_itself() -> None:
    """Its own retries and configuration from DNS are off; loopback is never reached through a proxy."""
    options = dict(plan("127.0.0.1:1", Credentials(), insecure=True).options)
    assert (options["grpc.enable_retries"], options["grpc.service_config_disable_resolution"]) == (0, 1)
    assert options["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in dict(plan("models.example:443", Credentials()).options)


def test_options_of_the_caller_win() -> None:
    """Message size and any other channel option can be set."""
    chosen = plan(
        "127.0.0.1:1",
        Credentials(),
        insecure=True,
        max_message_bytes=10,
        options=[("grpc.keepalive_time_ms", 1)],
    )
    options = dict(chosen.options)
    assert (options["grpc.max_receive_message_length"], options["grpc.keepalive_time_ms"]) == (10, 1)


@pytest.mark.parametrize("attempts", [0, 4])
def test_attempts_are_bounded(attempts: int) -> None:
    """From one to three attempts, nothing else."""
    with pytest.raises(ValueError, match="max_attempts must be from 1 to 3"):
        Client("127.0.0.1:1", insecure=True, max_attempts=attempts)
