"""Limits hold for everybody: of size, of metadata, of time; and whoever is over them harms nobody else."""

from __future__ import annotations

import gzip
import struct
import subprocess
import time
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
from frames import Peer, headers
from gate import COMMAND, INFER, Gate, bearer, command, environment, query

from guardhouse.protos import inference_pb2 as pb

Code = grpc.StatusCode
OK = query().SerializeToString()


@pytest.fixture(scope="module")
def tight(tmp_path_factory, sink):
    """A server with little room and little patience."""
    made = Gate(tmp_path_factory.mktemp("tight") / "demo", sink.port)
    made.start(
        "--set", "server.max_message=64KiB", "--set", "server.deadline=1s", "--set", "server.threads=1"
    )
    yield made
    assert made.stop() == 0


def ask(channel: grpc.Channel, request: bytes, metadata=(), timeout: float = 30) -> grpc.StatusCode:
    try:
        channel.unary_unary(INFER)(request, metadata=metadata, timeout=timeout)
    except grpc.RpcError as error:
        return error.code()
    return Code.OK


def last(gate: Gate, before: int) -> dict[str, object]:
    """The one ledger line since there were *before*."""
    lines = gate.ledger(before + 1)
    assert len(lines) == before + 1
    return lines[-1]


def test_a_request_over_the_size(tight):
    """A message over `max_message` is refused, on the ledger too, and the model is not called."""
    token, before, called = bearer(tight.token()), len(tight.ledger()), tight.calls()
    with tight.channel() as channel:
        code = ask(channel, b"x" * 64 * 1024 + b"x", token)
        line = last(tight, before)
        fits = ask(channel, query("double", [1.0] * 16_000).SerializeToString(), token)

    assert (code, fits) == (Code.RESOURCE_EXHAUSTED, Code.OK)
    assert (line["status"], line["reason"]) == ("RESOURCE_EXHAUSTED", "TOO_LARGE")
    assert tight.calls() == called + 1


def test_an_answer_over_the_size(tight):
    """An answer over `max_message` does not leave; caller and ledger agree on what became of the call."""
    token, before = bearer(tight.token()), len(tight.ledger())
    with tight.channel(options=[("grpc.max_receive_message_length", -1)]) as channel:
        code = ask(channel, query("large", [20_000.0]).SerializeToString(), token)
        line = last(tight, before)

    assert code is Code.RESOURCE_EXHAUSTED
    assert (line["status"], line["reason"]) == (code.name, "TOO_LARGE")
    assert line["note"].startswith("an answer of 80")


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A message that says it is compressed: about a MiB of gzip that is a GiB of zeros."""
    press, chunk = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1024 * 1024)
    block = press.compress(chunk) + press.flush(zlib.Z_FULL_FLUSH)  # stands by itself, so it may be repeated
    checksum = 0
    for _ in range(1024):
        checksum = zlib.crc32(chunk, checksum)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush() + struct.pack("<II", checksum, 2**30)
    packed = gzip.compress(b"")[:10] + block * 1024 + end
    return b"\1" + struct.pack(">I", len(packed)) + packed


def peak(gate: Gate) -> int:
    """Bytes of memory that the server has ever held at once."""
    status = Path(f"/proc/{gate.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("allowed", [False, True])
def test_a_gzip_bomb(gate, token, bomb, allowed):
    """A MiB that would be a GiB costs no memory: unread without a token, refused by its size with one."""
    extra = [(b"grpc-encoding", b"gzip")]
    if allowed:
        extra.append((b"authorization", f"Bearer {token}".encode()))
    before, memory, called = len(gate.ledger()), peak(gate), gate.calls()

    peer = Peer(gate)
    peer.call(headers(INFER.encode(), *extra), bomb)
    peer.close()
    line = last(gate, before)

    assert 900_000 < len(bomb) < 1_200_000
    assert line["status"] == ("RESOURCE_EXHAUSTED" if allowed else "UNAUTHENTICATED")
    assert line["request_bytes"] == 0
    assert peak(gate) - memory < 32 * 1024 * 1024
    assert gate.calls() == called


@pytest.mark.parametrize("path", [b"/\xff\xfe/x", b"\xff", b"/\xc3\x28/x", b"/" + b"\x80" * 300])
def test_a_path_that_is_not_utf8(gate, token, path):
    """One request whose path is not UTF-8 ends by itself, and the next caller is served."""
    peer = Peer(gate)
    heard = peer.call(headers(path, (b"authorization", f"Bearer {token}".encode())))
    peer.close()

    assert heard
    with gate.channel() as channel:
        assert ask(channel, OK, bearer(token)) is Code.OK
    assert gate.process.poll() is None


@pytest.mark.parametrize(
    ("size", "code"), [(9, Code.OK), (12, Code.OK), (14, Code.OK), (17, Code.RESOURCE_EXHAUSTED)]
)
def test_metadata_limits_are_not_a_lottery(gate, token, size, code):
    """Between grpc's two limits, 8 and 16 KiB, it would refuse at random: here there is one limit."""
    padding = (("x-padding", "x" * size * 1024),)
    with gate.channel() as channel:
        codes = {ask(channel, OK, bearer(token) + padding) for _ in range(20)}

    assert codes == {code}


def test_a_thousand_entries_of_metadata(gate, token):
    """Many entries count by their number too, and are refused like a long one, each time."""
    entries = tuple((f"x-{number}", "1") for number in range(1000))
    with gate.channel() as channel:
        codes = {ask(channel, OK, bearer(token) + entries) for _ in range(10)}
        some = ask(channel, OK, bearer(token) + entries[:200])

    assert (codes, some) == ({Code.RESOURCE_EXHAUSTED}, Code.OK)


def test_credentials_behind_too_much_metadata_prove_nothing(gate, token):
    """Where metadata is cut off at the limit, what is missing never means more rights."""
    before = gate.calls()
    with gate.channel() as channel:
        code = ask(channel, OK, (("x-padding", "x" * 20_000), *bearer(token)))

    assert code is Code.RESOURCE_EXHAUSTED
    assert gate.calls() == before


def test_without_a_token_nothing_is_parsed(gate):
    """Bytes that are no message, and a message over the limit, are all the same from a stranger: unread."""
    before = len(gate.ledger())
    messages = [b"\xff" * 20, b"x" * (5 * 2**20), OK, b""]
    with gate.channel(options=[("grpc.max_send_message_length", -1)]) as channel:
        codes = [ask(channel, message) for message in messages]
    lines = gate.ledger(before + len(messages))[before:]

    assert set(codes) == {Code.UNAUTHENTICATED}
    assert [line["request_bytes"] for line in lines] == [0] * len(messages)
    assert {line["reason"] for line in lines} == {"TOKEN_MISSING"}


def test_the_servers_own_deadline(tight):
    """A caller who sets no deadline, or a long one, gets the server's; then its place is free again."""
    token, before = bearer(tight.token()), len(tight.ledger())
    request = query("patient", [3600.0]).SerializeToString()
    with tight.channel() as channel:
        method = channel.unary_unary(INFER)
        calls = [method.future(request, metadata=token, timeout=timeout) for timeout in (None, 3000.0) * 25]
        codes = {call.code() for call in calls}
        after = ask(channel, OK, token)
    lines = tight.ledger(before + 51)[before:]

    assert (codes, after) == ({Code.DEADLINE_EXCEEDED}, Code.OK)
    assert [line["status"] for line in lines].count("DEADLINE_EXCEEDED") == 50


def test_a_call_that_waited_too_long_never_reaches_its_model(tight):
    """Calls that wait for the only thread until their time is up are not run afterwards."""
    token, called = bearer(tight.token()), tight.calls()
    request = query("slow", [2.0]).SerializeToString()
    with tight.channel() as channel:
        method = channel.unary_unary(INFER)
        calls = [method.future(request, metadata=token) for _ in range(5)]
        codes = {call.code() for call in calls}
        while ask(channel, query("slow", [0.0]).SerializeToString(), token) is not Code.OK:
            time.sleep(0.1)

    assert codes == {Code.DEADLINE_EXCEEDED}
    assert tight.calls() == called + 2, "the first of the five, and the one after them"


def test_a_revoked_key_ends_on_a_running_server(gate):
    """A second after `key revoke`, in another process, the key opens nothing any more."""
    folder = str(gate.folder)
    key = command("key", "create", "app-short", "--dir", folder)
    time.sleep(1)  # the server looks for new keys several times a second
    with gate.channel() as channel:
        before = ask(channel, OK, bearer(key))
        command("key", "revoke", "app-short", "--dir", folder)
        time.sleep(1)
        after = ask(channel, OK, bearer(key))

    assert (before, after) == (Code.OK, Code.UNAUTHENTICATED)


def test_a_second_server_on_the_port(gate, token, tmp_path, sink):
    """A second server on the same port does not start, and takes no connection from the first."""
    other = Gate(tmp_path / "demo", sink.port)
    arguments = [COMMAND, "serve", str(other.folder / "guardhouse.yaml"), "--set", f"listen={gate.address}"]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=30, env=environment(other.witness)
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"guardhouse: cannot listen on {gate.address}")
    with gate.channel() as channel:
        assert ask(channel, OK, bearer(token)) is Code.OK


def test_an_empty_tensor_and_a_large_one(gate, token):
    """What is just within the limits is served: nothing at all, and nearly four MiB."""
    with gate.channel() as channel:
        method = channel.unary_unary(INFER, None, pb.ModelInferResponse.FromString)
        for count in (0, 4 * 2**18 - 100):
            request = query("double", np.ones(count, np.float32)).SerializeToString()
            answer = method(request, metadata=bearer(token), timeout=30)
            assert answer.raw_output_contents[0] == np.full(count, 2, np.float32).tobytes()


def test_the_start_up_report_tells_of_limits_beside_those_of_roles(tight):
    """There are none here but the roles' own, which stand with the roles: nothing else is said of rates."""
    assert tight.report["limits"] == ["what was used is kept in memory"]
    assert "trickle (1 calls in 3600 s, 2 at once for each principal)" in tight.report["roles"]
