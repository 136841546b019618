"""`make run` as a newcomer meets it: two processes, the commands it prints, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gate import command, until

DEMO = Path(__file__).parents[2] / "examples" / "run_demo.py"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in held]


def processes(folder: Path) -> set[int]:
    """The processes that run in the folder around *folder*."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder.parent:
                    found.add(int(entry.name))
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo as `make run` starts it, the leader of a process group like that of a terminal."""
    return subprocess.Popen(
        [sys.executable, str(DEMO), folder.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder.parent,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], *wanted: str) -> list[str]:
    """What it prints until all of *wanted* has been printed."""
    lines, left = [], set(wanted)
    while left:
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
        left -= {words for words in left if words in line}
    return lines


@pytest.fixture
def folder(tmp_path):
    """The demo's folder, made before, so that it can be on ports that are free here."""
    made = tmp_path / ".demo"
    command("init", str(made))
    serving, collecting = free_ports(2)
    for name in ("guardhouse.yaml", "client.yaml"):
        text = (made / name).read_text()
        text = text.replace("127.0.0.1:8443", f"127.0.0.1:{serving}")
        (made / name).write_text(text.replace("127.0.0.1:4317", f"127.0.0.1:{collecting}"))
    yield made
    for left in processes(made):
        os.kill(left, signal.SIGKILL)  # started by the test that failed


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type *line* into a shell."""
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=folder.parent, timeout=30)


def test_the_demo(folder):
    """The printed commands do what is said beside each, and Ctrl-C ends everything with exit 0."""
    demo = start(folder)
    lines = read_until(demo, "receiving traces on", "serving on", "audit verify")
    shown = [line.strip() for line in lines if line.startswith("  ") and " # " in line]
    answer, refusal, traces, verify = shown
    label = re.search(r"# the answer should be (\d)", answer)[1]

    answered, refused = run(answer, folder), run(refusal, folder)
    assert answered.returncode == 0, answered.stderr
    assert re.search(rf"\b{label}\b", answered.stdout)
    assert refused.returncode != 0
    assert "UNAUTHENTICATED TOKEN_MISSING" in refused.stderr
    until(lambda: {"ModelInfer", "TOKEN_MISSING"} <= set(run(traces, folder).stdout.split()))
    assert run(verify, folder).returncode == 0

    os.killpg(demo.pid, signal.SIGINT)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, rest
    assert "stopped; every call is on the ledger" in rest
    assert "Traceback" not in rest
    assert processes(folder) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_demo_ends_with_its_terminal(folder, number):
    """A closed terminal, or a plain kill, leaves no process behind either."""
    demo = start(folder)
    read_until(demo, "receiving traces on", "serving on")
    demo.send_signal(number)
    demo.communicate(timeout=60)

    assert demo.returncode == 0
    assert processes(folder) == set()


def test_the_demo_where_the_port_is_taken(folder):
    """Where the server cannot start, the demo ends with its error and takes the receiver with it."""
    address = re.search(r"^listen: (.+):(\d+)$", (folder / "guardhouse.yaml").read_text(), re.MULTILINE)
    with socket.create_server((address[1], int(address[2]))):
        demo = start(folder)
        said, _ = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert f"cannot listen on {address[1]}:{address[2]}" in said
    assert processes(folder) == set()


def test_the_demo_with_a_mistake_in_its_configuration(folder):
    """A mistake in the folder's configuration is one line, and nothing is started."""
    path = folder / "guardhouse.yaml"
    path.write_text(path.read_text().replace("client_auth:", "client_auht:"))
    demo = start(folder)
    said, _ = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert len(said.splitlines()) == 1
    assert "tls.client_auht" in said
