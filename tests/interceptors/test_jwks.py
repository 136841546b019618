"""The source of an issuer's keys, against a real http server with every fault, and a file that changes."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from guardhouse.interceptors.tokens.jwks import Source

from .issuers import (
    ALGORITHMS,
    EC,
    OTHER_EC,
    RSA,
    Witness,
    certificate,
    jwk,
    key_set,
    reply,
    usual_set,
    wait_until,
    witness,
)


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[Witness]:
    with witness() as found:
        yield found


def endless(handler: BaseHTTPRequestHandler) -> None:
    """100 MB, if anybody takes them."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1600):
        handler.wfile.write(b" " * 65536)


def redirect_to(target: str) -> object:
    """An answer that sends the client elsewhere."""
    return lambda handler: reply(handler, b"", 302, {"location": target})


FAULTS = {
    "500": (lambda handler: reply(handler, usual_set(), 500), "status 500"),
    "404": (lambda handler: reply(handler, usual_set(), 404), "status 404"),
    "204": (lambda handler: reply(handler, b"", 204), "status 204"),
    "redirect": (redirect_to("/elsewhere"), "status 302"),
    "redirect to a file": (redirect_to("file:///etc/passwd"), "status 302"),
    "html": (lambda handler: reply(handler, b"<html>hello</html>"), "no proper JSON"),
    "empty": (lambda handler: reply(handler, b""), "no proper JSON"),
    "100 MB": (endless, "longer than 1048576 bytes"),
    "announced 100 MB": (lambda handler: reply(handler, b" " * 2**21), "longer than 1048576 bytes"),
    "no keys": (lambda handler: reply(handler, key_set()), "no key in it is fit"),
    "one bad key alone": (lambda handler: reply(handler, key_set({"kty": "oct", "k": ""})), "symmetric"),
    "cut": (lambda handler: reply(handler, usual_set()[:-9], headers={"content-length": "5000"}), ""),
    "nonsense": (lambda handler: handler.wfile.write(b"\x00\x01\x02\r\n\r\n"), "BadStatusLine"),
    "hangs up": (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "no answer"),
    "many headers": (
        lambda handler: reply(handler, usual_set(), headers={f"x-{each}": "x" for each in range(200)}),
        "HTTPException",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_the_last_good_set_until_it_is_stale(server: Witness, fault: str) -> None:
    """Whatever the address answers, the last good keys serve on for an hour, then there are none."""
    clock = Clock()
    source = Source(server.url, ALGORITHMS, clock=clock)
    assert source.keys is None
    assert source.load()
    good = source.keys
    server.answer, words = FAULTS[fault]  # type: ignore[assignment] # a table of lambdas
    clock.now += 300
    assert not source.load()
    assert words in source.problem
    assert source.keys is good
    clock.now += 3299
    assert source.keys is good
    clock.now += 1
    assert source.keys is None
    server.answer = lambda handler: reply(handler, usual_set())
    assert source.load()
    assert source.keys is good
    assert server.asked == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_start_gives_no_keys(server: Witness, fault: str) -> None:
    """Without ever having had a set there is none, and no error escapes."""
    server.answer, _ = FAULTS[fault]  # type: ignore[assignment] # a table of lambdas
    source = Source(server.url, ALGORITHMS)
    assert not source.load()
    assert source.keys is None


def test_a_redirect_is_not_followed(server: Witness) -> None:
    """Where a redirect points to, nobody comes."""
    with witness() as elsewhere:
        server.answer = redirect_to(elsewhere.url)  # type: ignore[assignment] # answers are callables
        assert not Source(server.url, ALGORITHMS).load()
        assert (server.asked, elsewhere.asked) == (1, 0)


def test_no_proxy_of_the_environment_is_used(server: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables change nothing: the address is asked itself."""
    with witness() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert Source(server.url, ALGORITHMS).load()
        assert (server.asked, proxy.asked) == (1, 0)


def test_one_bad_key_does_not_spoil_the_set(server: Witness) -> None:
    """The good keys of a set with a bad one are used; any content type will do."""
    body = key_set({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "bad"}, jwk(EC, "good"))
    server.answer = lambda handler: reply(handler, body, headers={"content-type": "text/html"})
    source = Source(server.url, ALGORITHMS)
    assert source.load()
    assert source.keys is not None
    assert list(source.keys.keys) == ["good"]


def test_the_same_content_stays_the_same_set(server: Witness) -> None:
    """Only a change makes a new set; what was dropped from it is gone."""
    source = Source(server.url, ALGORITHMS)
    source.load()
    first = source.keys
    source.load()
    assert source.keys is first
    assert first is not None
    server.answer = lambda handler: reply(handler, key_set(jwk(RSA, "rsa")))
    source.load()
    assert source.keys is not None
    assert source.keys.find("ec") is None
    assert source.keys.holds(first.keys["rsa"])


def test_https_verifies_the_server(server: Witness, tmp_path: Path) -> None:
    """A certificate that nobody vouches for gives no keys, whatever the server would answer."""
    chain = tmp_path / "server.pem"
    pem = certificate(EC).public_bytes(Encoding.PEM)
    chain.write_bytes(pem + EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    address = server.url.replace("http:", "https:")
    source = Source(address, ALGORITHMS)
    assert not source.load()
    assert "SSLCertVerificationError" in source.problem
    assert server.asked == 0
    trusting = ssl.create_default_context(cadata=pem.decode())
    trusting.check_hostname = False  # the certificate above has no name to check
    assert Source(address, ALGORITHMS, trust=trusting).load()


def test_unknown_keys_cause_one_reading_per_cool_down(server: Witness) -> None:
    """A flood of unknown names is one more question to the issuer, then none for 30 s; asking never waits."""
    clock = Clock()
    source = Source(server.url, ALGORITHMS, clock=clock)
    assert source.start()
    try:
        for _ in range(10_000):
            source.ask()  # the set was read a moment ago
        assert server.asked == 1
        clock.now += 30
        for _ in range(10_000):
            source.ask()
        assert wait_until(lambda: server.asked == 2)
        for _ in range(10_000):
            source.ask()
        clock.now += 29
        source.ask()
        time.sleep(0.05)
        assert server.asked == 2
    finally:
        source.stop()


def test_asking_does_not_wait_for_a_slow_issuer(server: Witness) -> None:
    """While a reading hangs, the good set is there and asking returns at once."""
    clock = Clock()
    source = Source(server.url, ALGORITHMS, clock=clock)
    source.start()
    held, release = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        held.set()
        release.wait(10)
        reply(handler, key_set(jwk(OTHER_EC, "new")))

    try:
        server.answer = hang
        clock.now += 30
        source.ask()
        assert held.wait(10)
        source.ask()
        assert source.keys is not None
        assert source.keys.find("ec")
        release.set()
        assert wait_until(lambda: source.keys is not None and source.keys.find("new") is not None)
    finally:
        release.set()
        source.stop()


def test_an_address_is_read_again_by_itself(server: Witness) -> None:
    """The refresh comes without anybody asking, and goes on after a failure."""
    source = Source(server.url, ALGORITHMS, refresh=0.01)
    source.start()
    try:
        server.answer, _ = FAULTS["500"]  # type: ignore[assignment] # a table of lambdas
        assert wait_until(lambda: source.problem != "")
        server.answer = lambda handler: reply(handler, key_set(jwk(OTHER_EC, "new")))
        assert wait_until(lambda: source.keys is not None and source.keys.find("new") is not None)
        assert source.problem == ""
    finally:
        source.stop()
    asked = server.asked
    time.sleep(0.05)
    assert server.asked == asked


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A new file takes the old one's place; one that is half written or gone leaves the old keys."""
    path = tmp_path / "jwks.json"
    path.write_bytes(usual_set())
    clock = Clock()
    source = Source(path, ALGORITHMS, clock=clock)
    assert source.load()
    first = source.keys
    for content in (usual_set()[:100], b"", key_set()):
        path.write_bytes(content)
        assert not source.load()
        assert source.keys is first
    path.unlink()
    assert not source.load()
    assert source.problem == "No such file or directory"
    assert source.keys is first
    path.write_bytes(key_set(jwk(OTHER_EC, "new")))
    assert source.load()
    assert source.keys is not None
    assert list(source.keys.keys) == ["new"]


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    """What cannot be read is a problem in one line, not an exception."""
    for path in (tmp_path, tmp_path / "none.json"):
        source = Source(path, ALGORITHMS)
        assert not source.load()
        assert source.problem
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (2**20 + 1))
    source = Source(large, ALGORITHMS)
    assert not source.load()
    assert source.problem == "the key set is larger than 1 MiB"


def test_a_file_is_followed_in_the_background(tmp_path: Path) -> None:
    """A rotated file takes effect without anybody asking."""
    path = tmp_path / "jwks.json"
    path.write_bytes(usual_set())
    source = Source(path, ALGORITHMS)
    assert source.start()
    try:
        path.write_bytes(key_set(jwk(OTHER_EC, "new")))
        assert wait_until(lambda: source.keys is not None and source.keys.find("new") is not None)
    finally:
        source.stop()
