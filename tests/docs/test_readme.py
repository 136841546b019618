"""What README.md, `make run` and examples/README.md tell a newcomer to type, typed."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from guardhouse_examples import digits

from .running import BIN, ROOT, Done, Gate, blocks, commands, receiver, served, shell, started

README = ROOT / "README.md"
EXAMPLES = ROOT / "examples/README.md"
ELSEWHERE = ("make", "pip")  # looked at by test_links.py: their targets and extras are there


@pytest.fixture(scope="module")
def demo() -> Any:
    """examples/run_demo.py, as a module."""
    spec = importlib.util.spec_from_file_location("run_demo", ROOT / "examples/run_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands make a folder and serve the model in it; its Python asks it, and is answered rightly.

    Then its other commands tell who asked.
    """
    typed = [line for line in commands(README) if line.split()[0] not in ELSEWHERE]
    make, serve, *look = typed
    assert (make, serve) == ("guardhouse init gate", "guardhouse serve gate/guardhouse.yaml")
    assert shell(make, tmp_path).status == 0
    monkeypatch.chdir(tmp_path)
    with receiver(tmp_path, "traces.db") as collector, served(tmp_path, "gate", collector):
        (snippet,) = blocks(README, "python")
        with redirect_stdout(io.StringIO()) as out:
            exec(snippet, {"image": digits.sample()})
    assert out.getvalue() == f"[{digits.answer()}]\n"
    top, query, verify = look
    for line in (f"{top} --once", query, verify):
        assert shell(line, tmp_path).status == 0
    assert "demo" in shell(query, tmp_path).out


def test_the_readmes_limits_can_be_added(tmp_path: Path) -> None:
    """At the end of the policy that `init` makes; they count whoever calls."""
    assert shell("guardhouse init gate", tmp_path).status == 0
    (limits,) = blocks(README, "yaml")
    with (tmp_path / "gate/policy.yaml").open("a") as policy:
        policy.write(f"\n{limits}")
    told = shell(
        "guardhouse policy explain --policy gate/policy.yaml --method ModelInfer --model m", tmp_path
    )

    assert shell("guardhouse check gate/guardhouse.yaml", tmp_path).status == 0
    assert "tenants: 25 USD/day for each claim.tenant" in told.out
    assert "networks: 8 at the same time for each peer" in told.out


def test_what_init_prints_can_be_typed(gate: Gate, reader: Path) -> None:
    """The two commands that `init` ends with are those that work: serve it, and ask it."""
    done = shell("guardhouse init other", reader)
    serve, infer = [line.strip() for line in done.out.splitlines() if line.startswith("  guardhouse ")]
    assert serve == "guardhouse serve other/guardhouse.yaml"
    assert shell("guardhouse check other/guardhouse.yaml", reader).status == 0
    asked = infer.replace("x.npy", "digit.npy").replace("other", "gate")
    assert re.search(rf"label +INT64 \[1\] +{digits.answer()}\n", shell(asked, reader).out)


def test_what_make_run_prints_can_be_typed(tmp_path: Path, demo: Any) -> None:
    """Each line of the list does what the words beside it say."""
    assert shell("guardhouse init .demo", tmp_path).status == 0
    label = demo.sample(tmp_path / ".demo/digit.npy")
    shown = demo.NEXT.format(guardhouse=BIN / "guardhouse", demo=".demo", label=label, profile="")
    typed = [re.split(r" {2,}# ", line.strip()) for line in shown.splitlines() if line.startswith("  ")]
    assert [beside for _, beside in typed] == [
        f"the answer should be {label}",
        "refused: nobody proved anything",
        "the traces of both",
        "their lines, untampered",
    ]
    infer, refused, traces, verify = (line for line, _ in typed)
    with receiver(tmp_path, ".demo/traces.db") as collector:
        with served(tmp_path, ".demo", collector):  # each span is sent before this ends
            answer, denied = shell(infer, tmp_path), shell(refused, tmp_path)
    assert (answer.status, denied.status) == (0, 1)
    assert re.search(rf"label +INT64 \[1\] +{label}\n", answer.out)
    assert "UNAUTHENTICATED TOKEN_MISSING" in denied.err
    seen = shell(traces, tmp_path).out
    assert "ModelInfer digits" in seen
    assert "TOKEN_MISSING" in seen
    assert shell(verify, tmp_path).status == 0


def test_run_demo_starts_what_the_list_speaks_of(demo: Any) -> None:
    """The store that the list names is the one that the receiver of the demo fills."""
    text = Path(demo.__file__).read_text()
    assert '"--store", str(demo / "traces.db")' in text
    assert "--store {demo}/traces.db" in demo.NEXT


def test_the_list_stands_below_the_servers_report(
    tmp_path: Path, demo: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list comes once, after all that the server says at its start; what it says later follows."""
    assert shell("guardhouse init .demo", tmp_path).status == 0
    serve = ("serve", str(tmp_path / ".demo/guardhouse.yaml"), "--set", "listen=127.0.0.1:0")
    server = demo.start(*serve, stdout=subprocess.PIPE)

    def lines() -> Iterator[str]:
        for line in server.stdout:
            yield line
            if line.startswith("serving on "):
                server.terminate()
        yield "later\n"

    with server:
        demo.relay(lines(), "Type these")
    assert server.returncode == 0
    *report, serving, todo, later = capsys.readouterr().out.splitlines()
    assert (todo, later) == ("Type these", "later")
    assert re.fullmatch(r"serving on 127\.0\.0\.1:\d+; stop with Ctrl-C", serving)
    assert report[0].split()[0] == "address"


class Reader:
    """Types the lines of examples/README.md, one after another, in a folder that has `examples` in it."""

    def __init__(self, folder: Path, collector: str) -> None:
        self.folder = folder
        self.server = ExitStack()
        self.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}"}
        self.address = ""

    def type(self, line: str) -> Done:
        """Type one line; a server is started, in place of the one before, on a free port."""
        if re.fullmatch(r"python examples/guard_(aio|threads)\.py gate", line):
            self.server.close()
            command = [str(BIN / "python"), *line.split()[1:], "0"]
            self.address = self.server.enter_context(started(command, self.folder, self.environment))
            return Done(0, "", "")
        if line.startswith("python examples/guard_ask.py"):
            return self.ask(f"{line} --target {self.address}")
        return shell(line, self.folder)

    def ask(self, line: str) -> Done:
        """Ask for a price. A key that was made a moment ago may need another one to be known."""
        made = re.search(r"\$\((guardhouse key create [^)]*)\)", line)
        if made is None:
            return shell(line, self.folder)
        line = line.replace(made[0], shell(made[1], self.folder).out.strip())
        tries = (shell(line, self.folder) for _ in range(20))
        return next((done for done in tries if done.status == 0), Done(1, "", "the key is not accepted"))


def test_the_examples_from_top_to_bottom(tmp_path: Path) -> None:
    """Each command of examples/README.md ends as the words beside it say."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with receiver(tmp_path, "traces.db") as collector:
        reader = Reader(tmp_path, collector)
        with reader.server:
            ended = [reader.type(line) for line in commands(EXAMPLES)]
    told = [(done.status, done.err.strip() if done.status else "") for done in ended]
    assert told == [
        (0, ""),  # init
        (0, ""),  # the server
        (1, "PERMISSION_DENIED METHOD_DENIED: not allowed to call this method"),
        (1, ""),  # explain
        (0, ""),  # an operator
        (1, "UNAUTHENTICATED TOKEN_MISSING: a bearer token is required"),
        (0, ""),  # tail
        (0, ""),  # verify
        (0, ""),  # the server with threads
        (0, ""),  # an API key
    ]
    assert "DENIED: no rule of role analyst allows it" in ended[3].out
    assert (ended[4].out, ended[9].out) == ("1.5\n", "2.25\n")


def test_the_line_for_the_policy_lets_analysts_ask(tmp_path: Path) -> None:
    """The YAML of examples/README.md, put into the policy that `init` writes, allows what was denied."""
    assert shell("guardhouse init gate", tmp_path).status == 0
    (wanted,) = blocks(EXAMPLES, "yaml")
    head, line = wanted.splitlines()
    policy = tmp_path / "gate/policy.yaml"
    policy.write_text(policy.read_text().replace(f"{head}\n", f"{head}\n{line}\n", 1))
    explain = next(line for line in commands(EXAMPLES) if line.startswith("guardhouse policy explain"))
    assert shell(explain, tmp_path).status == 0
