"""`guardhouse traces` as a real process: started, sent spans, stopped by a signal."""

import http.client
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from guardhouse.server.commands.traces import command
from guardhouse.server.traces.store import Store

READY = re.compile(r"receiving traces on (127\.0\.0\.1:\d+), store (.+)\n")
READY_HTTP = re.compile(r"receiving OTLP/HTTP on http://(127\.0\.0\.1:\d+)\n")
FOLLOW = ("--follow", "--listen", "127.0.0.1:0")


def ready(stream: Any) -> str:
    """The address in the first of the lines that say the receiver is up."""
    return ready_both(stream)[0]


def ready_both(stream: Any) -> tuple[str, str]:
    """The addresses in the two lines that say the receiver is up, for gRPC and for HTTP."""
    found, http = READY.fullmatch(stream.readline()), READY_HTTP.fullmatch(stream.readline())
    assert found
    assert http
    return found[1], http[1]


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str]:
    """Signal *process*; what it still printed, and that it ended well."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_receive_print_and_stop(start: Any, tmp_path: Path, otlp: Any, number: int) -> None:
    """Spans sent to the address it prints come out as a waterfall and are stored; a signal ends it with 0."""
    process = start(*FOLLOW, "--store", str(tmp_path / "made" / "t.db"))
    with otlp.exporter(ready(process.stdout)) as export:
        export(otlp.request(otlp.own_span(1), otlp.span(2, parent_span_id=bytes(7) + b"\1")))
    assert process.stdout.readline().startswith("trace 00000000000000000000000000000001  ")
    assert "ModelInfer digits" in process.stdout.readline()
    assert process.stdout.readline().startswith("  └ span 2 ")
    assert process.stdout.readline() == "\n"
    assert stop(process, number) == ("", "")
    with Store.reading(tmp_path / "made" / "t.db") as store:
        assert store.count_spans() == 2
    assert (tmp_path / "made" / "t.db").stat().st_mode & 0o777 == 0o600


def test_children_that_come_first_are_drawn_below_their_parent(start: Any, otlp: Any) -> None:
    """A model's spans, which end before the call, and one that comes late: two blocks, no span twice."""
    process = start(*FOLLOW)
    address, web = ready_both(process.stdout)
    child = {"parent_span_id": bytes(7) + b"\1", "name": "\x1b[2Jpredict\u202e"}
    with otlp.exporter(address) as export:
        export(otlp.request(otlp.span(3, parent_span_id=bytes(7) + b"\2"), otlp.span(2, **child)))
        export(otlp.request(otlp.own_span(1)))
        block = [process.stdout.readline() for _ in range(5)]
        assert block[0].endswith("  3 spans\n")
        assert block[1].startswith("  ModelInfer digits")
        assert block[2].startswith(r"  └ \x1b[2Jpredict\u202e ")
        assert block[3].startswith("    └ span 3 ")
    post(web, otlp.request(otlp.span(4, parent_span_id=bytes(7) + b"\2")).SerializeToString())
    block = [process.stdout.readline() for _ in range(3)]
    assert block[0].endswith("  1 more span\n")
    assert block[1].startswith("    └ span 4 ")
    assert stop(process) == ("", "")


def test_without_a_port_for_http_there_is_grpc(start: Any, otlp: Any) -> None:
    """Where the next port is taken, it says so and goes on without."""
    with two_ports() as port:
        process = start("--follow", "--quiet", "--listen", f"127.0.0.1:{port - 1}")
        assert READY.fullmatch(process.stdout.readline())
        assert process.stderr.readline().startswith(f"no OTLP/HTTP: port {port} is in use")
        with otlp.exporter(f"127.0.0.1:{port - 1}") as export:
            export(otlp.request(otlp.span(1)))
        assert stop(process) == ("", "")


@contextmanager
def two_ports() -> Iterator[int]:
    """A port that is held meanwhile, with a free one before it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port - 1)).close()
            except OSError:
                continue
            yield port
            return


def post(address: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
    assert connection.getresponse().status == 200
    connection.close()


def test_what_arrived_last_is_printed_too(start: Any, otlp: Any) -> None:
    """A trace that was received right before the signal is printed, and lies in the default store."""
    process = start(*FOLLOW, "--json")
    with otlp.exporter(ready(process.stderr)) as export:
        export(otlp.request(otlp.span(1), otlp.span(1, trace=2)))
    out, _ = stop(process)
    assert [json.loads(line)["trace_id"][-1] for line in out.splitlines()] == ["1", "2"]
    later = start("--last", "1", "--json")
    assert json.loads(later.communicate(timeout=30)[0])["spans"][0]["name"] == "span 1"


def test_quiet_receives_without_printing(start: Any, tmp_path: Path, otlp: Any) -> None:
    """--quiet stores all and prints nothing but that it is ready."""
    process = start(*FOLLOW, "--quiet", "--store", str(tmp_path / "t.db"))
    with otlp.exporter(ready(process.stdout)) as export:
        export(otlp.request(otlp.span(1)))
    assert stop(process) == ("", "")
    with Store.reading(tmp_path / "t.db") as store:
        assert store.count_spans() == 1


def test_a_taken_port_follows_the_store_instead(start: Any, tmp_path: Path, otlp: Any) -> None:
    """Where a receiver runs already, a second command says so and shows what the first receives."""
    where = ("--store", str(tmp_path / "t.db"))
    first = start(*FOLLOW, "--quiet", *where)
    address = ready(first.stdout)
    second = start("--follow", "--listen", address, *where)
    line = second.stderr.readline()
    assert line.startswith(f"port {address.rpartition(':')[2]} is in use")
    assert "--listen" in line
    with otlp.exporter(address) as export:
        export(otlp.request(otlp.own_span(1)))
    assert second.stdout.readline().startswith("trace 0000")
    _, err = stop(second)
    assert err == ""
    stop(first)


def test_a_taken_port_without_a_store_is_an_error(tmp_path: Path) -> None:
    """With nothing to follow, a port in use is one line and exit code 1; no store is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        result = CliRunner().invoke(
            command, ["--follow", "--listen", listen, "--store", str(tmp_path / "t.db")]
        )
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: port \d+ is in use by another program: choose another with --listen\n", result.stderr
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--follow", "--listen", "0.0.0.0:4317"], "not a loopback address"),
        (["--follow", "--listen", "nowhere"], "--listen wants HOST:PORT"),
        (["--follow", "--listen", "127.0.0.1:65535"], "the next one receives OTLP/HTTP"),
        ([], "start the receiver with `guardhouse traces --follow`"),
        (["abc"], "start the receiver with `guardhouse traces --follow`"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    """What cannot be done is said in one line on stderr, with exit code 1 and nothing on stdout or disk."""
    result = CliRunner().invoke(command, [*arguments, "--store", str(tmp_path / "t.db")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
