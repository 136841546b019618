"""The frame of the command line: late imports, near names, one line for an error, and quiet ends."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from guardhouse.interceptors.documents import ConfigError, Problem
from guardhouse.interceptors.tokens.keys import KeyStoreError
from guardhouse.server import commands
from guardhouse.server.commands import frame, output

IMPORT = "import sys; from guardhouse.server.commands import main"
MAIN = f"{IMPORT}; sys.exit(main())"

# Every command and subcommand of the contract -> options that its help must name.
HELP = {
    "init": ["--force", "--trust-domain", "--model", "--json"],
    "serve": ["--set"],
    "check": ["--json"],
    "cert": ["issue", "show"],
    "cert issue": ["--spiffe-id", "--dns", "--server", "--dir", "--out", "--ttl", "--force", "--json"],
    "cert show": ["--json"],
    "token": ["issue"],
    "token issue": ["--subject", "--role", "--ttl", "--audience", "--claim", "--bind", "--dir", "--json"],
    "key": ["create", "list", "revoke"],
    "key create": ["--name", "--note", "--expires", "--dir", "--keys", "--json"],
    "key list": ["--dir", "--keys", "--json"],
    "key revoke": ["--dir", "--keys", "--json"],
    "policy": ["explain"],
    "policy explain": ["--principal", "--method", "--model", "--json"],
    "infer": ["--input", "--json"],
    "stubs": ["--out", "--lang", "--json"],
    "audit": ["verify", "tail"],
    "audit verify": ["--json"],
    "audit tail": ["--json"],
    "traces": ["--follow", "--json"],
    "completion": ["bash", "zsh", "fish"],
}


def process(
    *arguments: str,
    code: str = MAIN,
    stdout: Any = subprocess.PIPE,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Python code, by default all of guardhouse, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | (environment or {}),
        text=True,
        check=False,
    )


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make a command `fails` of the real frame that raises what it is given."""
    raised: list[BaseException] = []

    @click.command("fails")
    def command() -> None:
        raise raised[0]

    real = frame.LazyGroup.get_command

    def get_command(group: frame.LazyGroup, context: click.Context, name: str) -> click.Command | None:
        return command if name == "fails" else real(group, context, name)

    monkeypatch.setattr(frame.LazyGroup, "get_command", get_command)
    monkeypatch.setattr(frame.LazyGroup, "list_commands", lambda *_: [*commands.COMMANDS, "fails"])
    monkeypatch.delenv("GUARDHOUSE_DEBUG", raising=False)
    return raised.append


@pytest.mark.parametrize("line", HELP)
def test_help_names_the_options(run: Any, line: str) -> None:
    """Every command of the contract answers --help with 0 and names its options."""
    said = run(*line.split(), "--help")
    assert said.status == 0, said.err
    assert [word for word in HELP[line] if word not in said.out] == []


def test_help_lists_every_command(run: Any) -> None:
    """The listing names every command of the table with its line of help."""
    said = run("--help")
    assert said.status == 0
    for name, text in commands.COMMANDS.items():
        assert f"  {name} " in said.out
        assert text in said.out


@pytest.mark.parametrize("argument", ["--help", "-h", "--version"])
def test_help_imports_nothing_heavy(argument: str) -> None:
    """Help and version import neither grpc nor numpy, nor any library of the server."""
    heavy = "{'grpc', 'numpy', 'cryptography', 'yaml', 'google.protobuf'}"
    code = f"{IMPORT}; main(sys.argv[1:]); print({heavy} & set(sys.modules), file=sys.stderr)"
    assert process(argument, code=code).stderr == "set()\n"


@pytest.mark.parametrize(
    ("line", "near"),
    [("serv", "serve"), ("tokens", "token"), ("cert isue", "issue"), ("key remove", "revoke"), ("xyzzy", "")],
)
def test_unknown_command_suggests_a_near_one(run: Any, line: str, near: str) -> None:
    """A misspelt command is wrong usage; one line names the nearest, if any is near, and the help."""
    said = run(*line.split())
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert ("did you mean" in said.err) is bool(near)
    assert near in said.err
    assert "--help" in said.err


@pytest.mark.parametrize("line", ["", "cert", "token", "key"])
def test_no_command_shows_the_help(run: Any, line: str) -> None:
    """A group without a command shows its help on stderr, as wrong usage."""
    said = run(*line.split())
    assert (said.status, said.out) == (2, "")
    assert "Commands:" in said.err


def test_version_is_one_line(run: Any) -> None:
    """--version prints one line and exits 0."""
    said = run("--version")
    assert (said.status, len(said.out.splitlines())) == (0, 1)
    assert said.out.startswith("guardhouse ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (click.ClickException("no such thing:\n try another"), "no such thing: try another"),
        (ConfigError([Problem("a.yaml", 3, "listen", "is empty")]), "a.yaml:3: listen: is empty"),
        (KeyStoreError("keys.db: is gone"), "keys.db: is gone"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.pem"),
            "a.pem: No such file or directory",
        ),
        (FileExistsError("a exists: use --force"), "a exists: use --force"),
        (ModuleNotFoundError("no", name="joserfc"), "this command needs `pip install 'guardhouse[server]'`"),
        (
            ModuleNotFoundError("no", name="onnxruntime.capi"),
            "this command needs `pip install 'guardhouse[onnx]'`",
        ),
        (ModuleNotFoundError("no x", name="x"), "internal error: ModuleNotFoundError: no x"),
        (ZeroDivisionError("one\ntwo"), "internal error: ZeroDivisionError: one two"),
    ],
)
def test_an_error_is_one_line(run: Any, fails: Any, error: Exception, line: str) -> None:
    """Whatever a command raises becomes one line on stderr and exit status 1, without a traceback."""
    fails(error)
    said = run("fails")
    assert (said.status, said.out, len(said.err.splitlines())) == (1, "", 1)
    assert said.err.startswith(f"guardhouse: {line}")


def test_debug_shows_the_traceback(run: Any, fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """GUARDHOUSE_DEBUG=1 puts the traceback before the line."""
    monkeypatch.setenv("GUARDHOUSE_DEBUG", "1")
    fails(ZeroDivisionError("oops"))
    said = run("fails")
    assert said.err.startswith("Traceback")
    assert said.err.splitlines()[-1].startswith("guardhouse: internal error")


@pytest.mark.parametrize(
    ("status", "error"), [(130, KeyboardInterrupt()), (130, click.Abort()), (7, SystemExit(7))]
)
def test_interruption_and_exit_have_their_status(
    run: Any, fails: Any, status: int, error: BaseException
) -> None:
    """Ctrl-C is 130, said without a word; a command's own exit status is kept."""
    fails(error)
    if isinstance(error, SystemExit):
        with pytest.raises(SystemExit) as caught:
            run("fails")
        assert caught.value.code == status
    else:
        said = run("fails")
        assert (said.status, said.out, said.err.strip()) == (status, "", "")


def test_ctrl_c_ends_a_real_process_quietly() -> None:
    """A process interrupted in the middle of a command exits 130 without a traceback."""
    code = (
        f"import os, signal, time, click\n{IMPORT}\nfrom guardhouse.server.commands import frame\n"
        "@click.command('stubs')\ndef wait():\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "frame.LazyGroup.get_command = lambda *_: wait\nsys.exit(main(['stubs']))"
    )
    done = process(code=code)
    assert (done.returncode, done.stderr.strip()) == (128 + signal.SIGINT, "")


def test_reader_that_left_is_no_error() -> None:
    """When nobody reads stdout any more, the command ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    done = process("--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_one_line() -> None:
    """Output that cannot be written is one line and a failure, not a traceback at exit."""
    with Path("/dev/full").open("w") as full:
        done = process("--help", stdout=full)
    assert (done.returncode, done.stderr) == (1, "guardhouse: No space left on device\n")


def test_missing_extra_is_one_line(tmp_path: Path) -> None:
    """Where only the client is installed, a server command names the extra to install."""
    done = process(
        "init", str(tmp_path / "x"), code=f"import sys; sys.modules['cryptography'] = None; {MAIN}"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "guardhouse: this command needs `pip install 'guardhouse[server]'`\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Any, shell: str) -> None:
    """Each shell gets a script that asks guardhouse for completions."""
    said = run("completion", shell)
    assert said.status == 0
    assert "_GUARDHOUSE_COMPLETE" in said.out


@pytest.mark.parametrize(
    ("words", "number", "wanted"),
    [("guardhouse co", 1, "completion"), ("guardhouse token issue --su", 3, "--subject")],
)
def test_completion_offers_commands_and_options(words: str, number: int, wanted: str) -> None:
    """The shell is offered the commands that begin so, and the options of the command typed."""
    asked = {"_GUARDHOUSE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = process(environment=asked)
    assert [line.rpartition(",")[2] for line in done.stdout.splitlines()] == [wanted]


def test_completion_of_commands_imports_none() -> None:
    """Offering the names of all commands imports no command: the shell's user is waiting."""
    asked = {"_GUARDHOUSE_COMPLETE": "bash_complete", "COMP_WORDS": "guardhouse ", "COMP_CWORD": "1"}
    watch = "import atexit, sys; atexit.register(lambda: print({'grpc', 'cryptography'} & set(sys.modules)))"
    *offered, heavy = process(code=f"{watch}; {MAIN}", environment=asked).stdout.splitlines()
    assert len(offered) == len(commands.COMMANDS)
    assert heavy == "set()"


def test_no_colour_where_nobody_sees_it(run: Any, tmp_path: Path) -> None:
    """Output that goes to a file holds no escape sequence."""
    assert "\x1b" not in run("init", tmp_path / "x").out


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_on_a_terminal_unless_unwanted(no_color: str, coloured: bool, tmp_path: Path) -> None:
    """On a terminal there is colour, unless NO_COLOR says otherwise."""
    import pty

    master, slave = pty.openpty()
    done = process("init", str(tmp_path / "x"), stdout=slave, environment={"NO_COLOR": no_color})
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert done.returncode == 0
    assert (b"\x1b" in shown) is coloured


def test_emit_prints_data_or_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A program gets one JSON document that keeps other scripts readable; a person gets the words."""
    output.emit({"name": "ä"}, True, "words")
    first = capsys.readouterr().out
    output.emit({"name": "ä"}, False, "words")
    assert json.loads(first) == {"name": "ä"}
    assert "ä" in first
    assert capsys.readouterr().out == "words\n"


def test_words_for_people_can_leave_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """ok and step go to stdout, or to stderr when asked; a note always goes to stderr."""
    output.ok("fine")
    output.step("guardhouse serve x")
    output.ok("fine", err=True)
    output.note("careful")
    captured = capsys.readouterr()
    assert captured.out == "fine\n  guardhouse serve x\n"
    assert captured.err == "fine\nguardhouse: note: careful\n"
