"""Real Redis servers, on loopback and in a folder of the test, ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SERVER = shutil.which("redis-server") or shutil.which("valkey-server") or ""
HAS_REDIS = pytest.mark.skipif(
    not SERVER, reason="no redis-server here; run: python tools/redis_server.py, or install valkey-server"
)
ONCE = Retry(NoBackoff(), 0)
RIGHTS = "+evalsha +eval +hget +hmget +hgetall +hset +hdel +pexpireat +time +scan +del"
PATIENCE = 10.0  # seconds in which a server has to come up


class RedisServer:
    """One server without persistence, started anew on the same port by `start`."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run, and wait until it answers."""
        common = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        command = [SERVER, *self._config(), *common, *self._options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: self.ask("PING") is not None)

    def _config(self) -> tuple[str, ...]:
        """A Sentinel writes to its file, so it must have one; others persist nothing, and sync at once."""
        file = self._folder / "sentinel.conf"
        if file.exists():
            return (str(file), "--sentinel")
        return ("--save", "", "--repl-diskless-sync-delay", "0")

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        """End the process, frozen or not."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def admit(self, rights: str) -> str:
        """Make a user with these rights to our keys, and no other; USER:PASSWORD, as for a URL."""
        self.ask("ACL", "DELUSER", "gate")
        self.ask("ACL", "SETUSER", "gate", "on", ">pass:word", "~{guardhouse}:*", *rights.split())
        return "gate:pass%3Aword"

    def elapse(self, seconds: float) -> None:
        """Make it so long ago that anything was drawn or held: there is no other way to pass Redis's time."""
        micros = int(seconds * 1e6)
        for key in _texts(self.ask("KEYS", "{guardhouse}:rate:*")):
            self.ask("HINCRBY", key, "at", -micros)
        for key in _texts(self.ask("KEYS", "{guardhouse}:slots:*")):
            for process in _texts(self.ask("HKEYS", key)):
                slots, at, lasts = str(self.ask("HGET", key, process)).split()
                self.ask("HSET", key, process, f"{slots} {int(at) - micros} {lasts}")

    def ask(self, *command: object) -> object:
        """The answer to *command*, or None if there is none yet."""
        try:
            with redis.Redis(port=self.port, protocol=2, decode_responses=True, retry=ONCE) as client:
                return client.execute_command(*command)
        except redis.ConnectionError:
            return None


def _texts(answer: object) -> list[str]:
    assert isinstance(answer, list)
    return answer


@contextmanager
def running(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server, until the end of the block."""
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port of loopback that nobody listens on, nor on the one 10,000 above, which a cluster takes too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


def wait_for(condition: object) -> None:
    """Wait for another process to come to *condition*, a function."""
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.01)
