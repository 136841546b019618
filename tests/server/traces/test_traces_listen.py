"""Where the receiver may listen."""

import socket

import pytest

from guardhouse.server.traces.listen import ListenError, after, join, parse_listen, probe


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("127.0.0.1:4317", ("127.0.0.1", 4317)),
        ("127.8.9.1:0", ("127.8.9.1", 0)),
        ("localhost:4317", ("127.0.0.1", 4317)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_loopback_addresses_are_taken(said: str, meant: tuple[str, int]) -> None:
    """Any way to name this machine to itself is understood."""
    assert parse_listen(said) == meant


@pytest.mark.parametrize(
    "said", ["0.0.0.0:4317", "[::]:4317", "10.0.0.1:4317", "8.8.8.8:1", "[fe80::1]:4317"]
)
def test_other_addresses_are_refused(said: str) -> None:
    """A receiver without authentication never listens where another machine could reach it."""
    with pytest.raises(ListenError, match="loopback"):
        parse_listen(said)


@pytest.mark.parametrize(
    "said", ["", "4317", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "h:x"]
)
def test_nonsense_says_what_is_wanted(said: str) -> None:
    """What is not HOST:PORT is refused in a line that shows one."""
    with pytest.raises(ListenError, match=r"as in 127\.0\.0\.1:4317") as caught:
        parse_listen(said)
    assert "\n" not in str(caught.value)


def test_names_are_not_resolved() -> None:
    """A host name could mean anything tomorrow: only addresses, and localhost."""
    with pytest.raises(ListenError, match="IP address"):
        parse_listen("example.invalid:4317")


def test_a_taken_port_is_told_apart() -> None:
    """A port in use is said to be in use, so that the command may follow the store instead."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} is in use.*--listen") as caught:
            probe("127.0.0.1", port)
    assert caught.value.in_use


def test_a_port_that_cannot_be_had_is_not_in_use() -> None:
    """An address that this machine does not have is another error, told in the system's words."""
    with pytest.raises(ListenError, match="cannot listen on") as caught:
        probe("192.0.2.1", 4317)
    assert not caught.value.in_use


def test_an_ipv6_address_gets_brackets() -> None:
    """What is printed can be used as it stands."""
    assert (join("::1", 4317), join("127.0.0.1", 1)) == ("[::1]:4317", "127.0.0.1:1")


def test_http_is_on_the_port_after() -> None:
    """4318 goes with 4317; where any port will do, any will do for both; after the last there is none."""
    assert (after("127.0.0.1:4317"), after("[::1]:0")) == ("127.0.0.1:4318", "[::1]:0")
    with pytest.raises(ListenError, match="below 65535"):
        after("127.0.0.1:65535")
