"""HTTP/2 (RFC 9113, RFC 7541) by hand over mutual TLS, for what no client library would send."""

from __future__ import annotations

import socket
import ssl
import struct

from gate import Gate

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(value: bytes) -> bytes:
    """A string literal, not Huffman coded (RFC 7541, section 5.2)."""
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, raw = len(value) - 127, bytearray(b"\x7f")
    while rest > 127:
        raw.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*raw, rest)) + value


def headers(path: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """The headers of a gRPC call on stream 1, each a literal that is not indexed."""
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", path), (b":authority", b"localhost")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *extra]
    return frame(
        HEADERS, END_HEADERS, 1, b"".join(b"\0" + text(name) + text(value) for name, value in fields)
    )


class Peer:
    """One connection to the gate, and what it has heard: the kinds of frames, in order."""

    def __init__(self, gate: Gate) -> None:
        pki = gate.folder / "pki"
        context = ssl.create_default_context(cafile=pki / "ca.pem")
        context.load_cert_chain(pki / "client.pem", pki / "client.key")
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", gate.port), timeout=20)
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._room = {0: WINDOW, 1: WINDOW}  # of the connection, and of the stream
        self.heard: list[int] = []
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))

    def call(self, request: bytes, body: bytes = b"") -> list[int]:
        """Send headers and body, as far as the windows allow, until the call has ended."""
        self._send(request)
        left = memoryview(body)
        while True:
            while (size := min(*self._room.values(), 16_384, len(left))) > 0:
                self._send(frame(DATA, END_STREAM if size == len(left) else 0, 1, bytes(left[:size])))
                left = left[size:]
                self._room = {stream: had - size for stream, had in self._room.items()}
            if self._over():
                return self.heard

    def close(self) -> None:
        self._socket.close()

    def _over(self) -> bool:
        """Hear one frame; whether it was the last of the call."""
        head = self._exactly(9)
        if len(head) < 9:
            return True
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        self.heard.append(kind)
        if kind == SETTINGS and not flags & ACK:
            pairs = dict(struct.unpack_from(">HI", payload, start) for start in range(0, len(payload), 6))
            self._room[1] += pairs.get(4, WINDOW) - WINDOW
            self._send(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._room[stream] += int.from_bytes(payload, "big")
        return kind in (RESET, GOAWAY) or (kind == HEADERS and bool(flags & END_STREAM))

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:  # the other side has had enough; what it said can still be heard
            self._room = dict.fromkeys(self._room, 0)

    def _exactly(self, count: int) -> bytes:
        got = bytearray()
        try:
            while len(got) < count and (chunk := self._socket.recv(count - len(got))):
                got += chunk
        except OSError:
            return b""
        return bytes(got)
