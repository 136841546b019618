"""The Redis store asks once, and makes nothing of nonsense: against a listener that is no Redis."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from guardhouse.interceptors.limits.stores import Short, StoreError, Want
from guardhouse.interceptors.limits.stores.redis import RedisStore

from .accounts import account, draw, drip, hold, take

ONE_TAKEN = b"*2\r\n:0\r\n:1\r\n"


class Listener:
    """Takes connections, and answers what comes on them with *answer* once `go` is set."""

    def __init__(self) -> None:
        self.answer = b""
        self.go, self.asked = threading.Event(), threading.Event()
        self.connections = 0
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and let waiting answers go."""
        self._socket.close()
        self.go.set()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            while heard := peer.recv(65536):
                self.heard.append(heard)
                self.asked.set()
                self.go.wait(30)
                if not self.answer:
                    return
                peer.sendall(self.answer)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """One that waits with its answers."""
    made = Listener()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("url", "connections"),
    [
        ("redis://127.0.0.1:{}", 1),
        ("redis://:pass@127.0.0.1:{}?db=1", 1),
        ("redis+sentinel://127.0.0.1:{}/main", 1),
        ("redis+cluster://127.0.0.1:{}", 1),
    ],
)
def test_tried_once(listener: Listener, url: str, connections: int) -> None:
    """Nothing comes back: one connection was made, and one command sent on it, whatever kind of Redis was
    meant. Otherwise a time limit would be a multiple of itself, and a slow take be taken twice.
    """
    store = RedisStore(url.format(listener.port), timeout=0.1)
    with pytest.raises(StoreError, match=r"Timeout|No master found"):
        take(store, 1, account())
    assert listener.connections == connections
    assert len(listener.heard) == 1


def test_more_at_once_than_connections(listener: Listener) -> None:
    """One more than there may be fails at once, and is no trouble for those that are under way."""
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=30, connections=1)
    taken: list[int | None] = []
    first = threading.Thread(target=lambda: taken.append(take(store, 1, account())))
    first.start()
    assert listener.asked.wait(10)
    with pytest.raises(StoreError, match="MaxConnectionsError"):
        take(store, 1, account())
    listener.answer = ONE_TAKEN
    listener.go.set()
    first.join()
    assert taken == [1]
    assert take(store, 1, account()) == 1
    assert listener.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\xff\r\n",
        b"",
        b"$-1\r\n",
        b":5\r\n",
        b"+OK\r\n",
        b"*0\r\n",
        b"*x\r\n",
        b"*1\r\n:0\r\n",
        b"*2\r\n:0\r\n$1\r\nx\r\n",
        b"*2\r\n:0\r\n:2\r\n",
        b"*2\r\n:0\r\n:-1\r\n",
        b"*3\r\n:0\r\n:1\r\n:1\r\n",
        b"*2\r\n:2\r\n:0\r\n",
        b"*2\r\n:-1\r\n:0\r\n",
        b"*2\r\n:1\r\n:7\r\n",
        b"-WEIRD more\r\n",
        b"-MOVED x\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-LOADING Redis is loading\r\n",
        b"-MISCONF no\r\n",
    ],
)
def test_nonsense(listener: Listener, answer: bytes) -> None:
    """Whatever is answered that the script cannot have said is told in one line, and is nothing taken."""
    listener.answer = answer
    listener.go.set()
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=5)
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:\d+: [^\n]+$"):
        take(store, 1, account())


@pytest.mark.parametrize(
    "answer",
    [
        b":1\r\n",
        b"*0\r\n",
        b"*1\r\n:1\r\n",
        b"*2\r\n:1\r\n$1\r\n0\r\n",
        b"*3\r\n:1\r\n$1\r\nx\r\n:0\r\n",
        b"*3\r\n:1\r\n$1\r\n0\r\n:-1\r\n",
        b"*3\r\n:4\r\n$1\r\n0\r\n:0\r\n",
        b"*3\r\n:-1\r\n$1\r\n1\r\n:0\r\n",
        b"*3\r\n:0\r\n$1\r\n1\r\n:2\r\n",
        b"*3\r\n:0\r\n$1\r\n1\r\n:-1\r\n",
        b"*3\r\n:0\r\n$2\r\n-1\r\n:0\r\n",
        b"*3\r\n:0\r\n$3\r\nnan\r\n:0\r\n",
        b"*6\r\n:2\r\n$1\r\n0\r\n:0\r\n:2\r\n$1\r\n0\r\n:0\r\n",
    ],
)
def test_nonsense_of_rates(listener: Listener, answer: bytes) -> None:
    """Is no unit drawn."""
    listener.answer = answer
    listener.go.set()
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=5)
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:\d+: [^\n]+$"):
        draw(store, drip(least=2, most=3))


@pytest.mark.parametrize(
    "answer",
    [b":1\r\n", b"*0\r\n", b"*1\r\n:2\r\n", b"*1\r\n:-1\r\n", b"*2\r\n:1\r\n:1\r\n", b"*1\r\n$1\r\nx\r\n"],
)
def test_nonsense_of_slots(listener: Listener, answer: bytes) -> None:
    """Is no slot had."""
    listener.answer = answer
    listener.go.set()
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=5)
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:\d+: [^\n]+$"):
        hold(store, "p", 1)


def test_sense(listener: Listener) -> None:
    """The same listener is believed when it says what the script would: the nonsense is what was refused."""
    listener.answer = ONE_TAKEN
    listener.go.set()
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=5)
    assert take(store, 1, account()) == 1
    listener.answer = b"*2\r\n:1\r\n:0\r\n"
    assert store.take([Want(account(), 1, 1)]) == Short(account(), 0)
    listener.answer = b"*3\r\n:2\r\n$1\r\n0\r\n:0\r\n"
    assert draw(store, drip(least=2, most=3)) == [2]
    listener.answer = b"*1\r\n:1\r\n"
    assert hold(store, "p", 1) == 1


def test_anew_after_any_error(listener: Listener) -> None:
    """An error is the end of the connection that it came on: a name may lead to another server by now, and
    one that has become a replica would go on refusing.
    """
    listener.answer = b"-READONLY no\r\n"
    listener.go.set()
    store = RedisStore(f"redis://127.0.0.1:{listener.port}", timeout=5)
    with pytest.raises(StoreError, match="ReadOnlyError"):
        take(store, 1, account())
    listener.answer = ONE_TAKEN
    assert take(store, 1, account()) == 1
    assert listener.connections == 2


@pytest.mark.parametrize("secret", ["hunter2", "h" * 200])
@pytest.mark.parametrize(
    "answer",
    ["ERR unknown command 'AUTH', with args beginning with: '{:.128}' ", "ERR wrong: {} is no password"],
)
def test_the_password_is_not_told(listener: Listener, secret: str, answer: str) -> None:
    """A server that does not know AUTH repeats what it was sent, a long word cut off: not so the error."""
    listener.answer = f"-{answer.format(secret)}\r\n".encode()
    listener.go.set()
    store = RedisStore(f"redis://:{secret}@127.0.0.1:{listener.port}", timeout=5)
    with pytest.raises(StoreError, match=r"ResponseError: (unknown command|wrong)") as caught:
        take(store, 1, account())
    assert secret[:7] not in str(caught.value)
