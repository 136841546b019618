"""Why grpcio is held between two versions: what others do, tried on the installed one (docs/grpcio.md)."""

from __future__ import annotations

import asyncio
import gzip
import resource
import socket
import struct
import zlib
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Chain

from .serving import COLOURS, SERVICE, Token, Watch, serving

METHOD = f"/{SERVICE}/unary_unary".encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _header(name: bytes, value: bytes) -> bytes:
    """A literal header field that is not indexed and not Huffman coded (RFC 7541, section 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, raw = len(text) - 127, bytearray(b"\x7f")
    while rest > 127:
        raw.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*raw, rest)) + text


def _request(path: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Preface, settings and the headers of one gRPC call to *path*."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *extra]
    block = b"".join(_header(name, value) for name, value in fields)
    settings = _frame(4, 0, 0, b"")
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + _frame(1, 4, 1, block)


def _body(message: bytes, flags: int = 1) -> bytes:
    """A length-prefixed message; *flags* 1 says that it is compressed."""
    return bytes((flags,)) + struct.pack(">I", len(message)) + message


def _speak(port: int, request: bytes, body: bytes = b"") -> list[int]:
    """Send a request and its body, as far as the peer's windows let us, until the call has ended.

    Returns the kinds of frames that came back.
    """
    heard: list[int] = []
    room = {0: 65_535, 1: 65_535}  # of the connection, and of the stream
    left = memoryview(body)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(request)
        while True:
            while (size := min(*room.values(), 16_384, len(left))) > 0:
                peer.sendall(_frame(0, size == len(left), 1, bytes(left[:size])))
                left, room = left[size:], {stream: had - size for stream, had in room.items()}
            kind, flags, stream, payload = _hear(peer)
            heard.append(kind)
            if kind == SETTINGS and not flags & 1:
                room[1] += _initial_window(payload) - 65_535
                peer.sendall(_frame(SETTINGS, 1, 0, b""))
            elif kind == WINDOW_UPDATE:
                room[stream] += int.from_bytes(payload, "big")
            elif kind in (RESET, GOAWAY, CLOSED) or (kind == HEADERS and flags & 1):
                return heard


HEADERS, RESET, SETTINGS, GOAWAY, WINDOW_UPDATE, CLOSED = 1, 3, 4, 7, 8, -1


def _hear(peer: socket.socket) -> tuple[int, int, int, bytes]:
    """The next frame; CLOSED where there is none."""
    head = _exactly(peer, 9)
    if len(head) < 9:
        return CLOSED, 0, 0, b""
    return head[3], head[4], int.from_bytes(head[5:], "big"), _exactly(peer, int.from_bytes(head[:3], "big"))


def _exactly(peer: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count and (chunk := peer.recv(count - len(got))):
        got += chunk
    return bytes(got)


def _initial_window(settings: bytes) -> int:
    """SETTINGS_INITIAL_WINDOW_SIZE, if the peer set it."""
    pairs = dict(struct.unpack_from(">HI", settings, start) for start in range(0, len(settings), 6))
    return int(pairs.get(4, 65_535))


PATHS = [b"/test.Echo/\xff\xfe", b"/\xc3\x28/x", b"\xff", b"/" + b"\x80" * 300, b"/\xed\xa0\x80/surrogate"]


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_path_that_is_not_utf8(colour: str) -> None:
    """One request whose path is not UTF-8 leaves the server serving, and says nothing of why it failed.

    From 1.84.0 to 1.85.1 it shuts a grpc.aio server down.
    """
    watch = Watch()
    async with serving(colour, Chain(watch, Token())) as served:
        before = await served.ask("unary_unary", b"x")
        heard = [await asyncio.to_thread(_speak, served.port, _request(path)) for path in PATHS]
        after = await served.ask("unary_unary", b"x")

    assert (before.code, after.code) == (Code.OK, Code.OK)
    assert all(heard)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("path", [b"", b"/", b"test.Echo/unary_unary", b"//test.Echo/unary_unary", b"*"])
async def test_a_path_that_is_nearly_a_method(colour: str, path: bytes) -> None:
    """Only the very path is a method: a missing or a second slash makes it an unknown one."""
    reached: list[str] = []

    async def model(messages: Any, context: Any) -> Any:
        async for message in messages:
            reached.append("model")
            yield message

    watch = Watch()
    async with serving(colour, Chain(watch, Token()), model) as served:
        await asyncio.to_thread(
            _speak, served.port, _request(path, (b"authorization", b"x")) + _body(b"x", 0)
        )
        after = await served.ask("unary_unary", b"x")

    assert after.code == Code.OK
    assert reached == ["model"]
    assert all(not call.known for call in watch.calls[:-1])


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """About a MiB of gzip that is a GiB of zeros."""
    press, chunk = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1024 * 1024)
    block = press.compress(chunk) + press.flush(zlib.Z_FULL_FLUSH)  # stands by itself, so it may be repeated
    checksum = 0
    for _ in range(1024):
        checksum = zlib.crc32(chunk, checksum)
    head, end = gzip.compress(b"")[:10], struct.pack("<II", checksum, 2**30)
    return head + block * 1024 + zlib.compressobj(9, zlib.DEFLATED, -15).flush() + end


def _resident() -> int:
    """Bytes of memory this process has ever held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("allowed", [False, True])
async def test_a_gzip_bomb(colour: str, allowed: bool, bomb: bytes) -> None:
    """A MiB that unpacks to a GiB costs no memory: refused unread without a token, and by its size with one.

    Up to 1.83.0 grpcio unpacks all of it before it looks at the limit.
    """
    parsed: list[bytes] = []
    watch = Watch()
    extra = [(b"grpc-encoding", b"gzip"), *([(b"authorization", b"x")] if allowed else [])]
    limit = (("grpc.max_receive_message_length", 4 * 1024 * 1024),)
    async with serving(colour, Chain(watch, Token()), parse=parsed.append, options=limit) as served:
        before = _resident()
        await asyncio.to_thread(_speak, served.port, _request(METHOD, *extra), _body(bomb))
        await watch.wait()
        after = _resident()
        served_on = await served.ask("unary_unary", b"x", path="/no.Such/Method")

    assert 900_000 < len(bomb) < 1_200_000
    assert watch.statuses[0] == (Code.RESOURCE_EXHAUSTED if allowed else Code.UNAUTHENTICATED)
    assert after - before < 64 * 1024 * 1024
    assert parsed == []
    assert served_on.code == Code.UNIMPLEMENTED


@pytest.mark.parametrize("colour", COLOURS)
async def test_malformed_compression(colour: str) -> None:
    """What says it is gzip and is not, or is compressed in no way that was named, harms nobody."""
    parsed: list[bytes] = []
    whole = gzip.compress(b"hello")
    cases = [
        ((b"grpc-encoding", b"gzip"), _body(whole[:-6])),
        ((b"grpc-encoding", b"gzip"), _body(b"junk")),
        ((b"grpc-encoding", b"deflate"), _body(b"junk")),
        ((b"grpc-encoding", b"zstd"), _body(b"junk")),
        ((b"grpc-encoding", b"identity"), _body(whole)),
        ((b"x-none", b""), _body(whole)),
    ]
    watch = Watch()

    def parse(raw: bytes) -> bytes:
        parsed.append(raw)
        return raw

    async with serving(colour, Chain(watch), parse=parse) as served:
        for extra, body in cases:
            await asyncio.to_thread(_speak, served.port, _request(METHOD, extra), body)
        after = await served.ask("unary_unary", b"x")

    assert after.code == Code.OK
    # Where no way of compression was named, grpc hands on what came as it came; it is not unpacked.
    assert parsed == [whole, whole, b"x"]


def test_the_installed_version() -> None:
    """Between the version that unpacks bombs and the one that a path shuts down."""
    installed = tuple(int(part) for part in grpc.__version__.split(".")[:3])

    assert (1, 83, 2) <= installed < (1, 84, 0)
