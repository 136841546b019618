"""OTLP over HTTP/1.1 with protobuf bodies, by the standard library: one connection, kept open."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from .answers import Answer, Later, of_response

MOST_ANSWER: Final = 2**20  # bytes of an answer that are read; an honest one has some dozen


class OverHttp:
    """A connection to a collector. See `Transport`. Follows no redirect, keeps no cookie, asks no proxy.

    Args:
        endpoint: http(s)://host:port, and perhaps a path; `/v1/traces` comes behind it.
        headers: Sent with every request.
        context: For TLS; needed with `https`.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], context: ssl.SSLContext | None) -> None:
        url = urlsplit(endpoint)
        host, port = url.hostname or "", url.port
        self._path = f"{url.path.rstrip('/')}/v1/traces"
        self._headers = {**headers, "content-type": "application/x-protobuf"}
        self._closed = False
        self._connection = (
            HTTPSConnection(host, port, context=context)
            if url.scheme == "https"
            else HTTPConnection(host, port)
        )

    def send(self, request: bytes, timeout: float) -> Answer:
        """See `Transport.send`."""
        # The socket's own timeout is for each read: an answer of a byte a second would keep us for ever.
        limit = threading.Timer(timeout, self._cut)
        limit.daemon = True
        limit.start()
        try:
            response = self._ask(request, timeout)
            body = response.read(MOST_ANSWER + 1)
        except (OSError, HTTPException, ValueError) as error:
            self._connection.close()
            return Later(type(error).__name__)
        finally:
            limit.cancel()
        if not response.isclosed() or response.length:  # more than we care to read, or less than promised
            self._connection.close()
        return of_response(response.status, response.getheader("retry-after", ""), body, time.time())

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        self._cut()

    def _ask(self, request: bytes, timeout: float) -> HTTPResponse:
        if self._closed:
            raise OSError("closed")
        connection = self._connection
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request("POST", self._path, request, self._headers)
        return connection.getresponse()

    def _cut(self) -> None:
        """End whatever the connection is doing. Called by another thread than the one that uses it."""
        if (held := self._connection.sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(held, socket.SHUT_RDWR)
